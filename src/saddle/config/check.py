"""The config is checked before anything heavy is imported. Free of torch.

Three things are checked: the type of every option (that of its default in its yaml file), its range (stated by the
comment beside that default), and whether the parts fit each other (`RULES`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from saddle.config.compose import Composer, first_line, near, parse
from saddle.config.ranges import Kind, is_int, is_number
from saddle.errors import InputError

LISTS = ("penalty", "metrics")  # groups of which several options can be chosen
DEFAULT_MINUTES = 5.0  # of training, where neither iterations nor minutes are given


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A config as resolved plain containers, without its `hydra` node.

    Raises:
        InputError: if a value is missing or an interpolation cannot be resolved.
    """
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        container: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} must be given: {error.full_key}=...") from None
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key or 'config'}: {first_line(error)}") from None
    return container


def length(cfg: Mapping[str, Any] | DictConfig) -> tuple[int | None, float | None]:
    """The iterations and the minutes of training after which a run ends; five minutes where neither is given."""
    iterations, minutes = cfg["iterations"], cfg["minutes"]
    return iterations, DEFAULT_MINUTES if iterations is None and minutes is None else minutes


def checked(composer: Composer, overrides: Sequence[str], rules: bool = True) -> dict[str, Any]:
    """Compose a config and check it.

    Args:
        composer: of the folder with the configs.
        overrides: the command line.
        rules: check too whether the parts fit each other.

    Returns:
        The config, resolved and plain, with the names of the chosen options under `choices`.

    Raises:
        InputError: naming the first thing that is wrong.
    """
    cfg = composer.compose(overrides)
    config, reference = plain(cfg), plain(composer.reference(overrides))
    for key in config:
        if key not in reference:
            raise InputError(f"there is no option {key}{near(key, [*reference])}")
    for key in (parse(text).key_or_group for text in overrides):  # first, so that an error names what was typed
        value, found = _select(config, key)
        if found and not isinstance(value, dict):
            check_types(value, get(reference, key), key)
    check_types(config, reference)
    check_ranges(config, composer.ranges(overrides))
    config["choices"] = {key: value for key, value in cfg.hydra.runtime.choices.items() if not key.startswith("hydra/")}
    config["choices"] |= {
        group: list(config[group]) for group in LISTS if group in config
    }  # which Hydra does not record
    if rules:
        check_rules(config)
    return config


def check_types(value: Any, default: Any, key: str = "") -> None:
    """Check a node and all below it: what differs from its default must be of its default's type."""
    kind = kind_of(default)
    if value != default and not kind.accepts(value):
        raise InputError(f"{key}={_show(value)}: must be {kind.words}, like its default {_show(default)}")
    if isinstance(default, dict):
        for name, inner in default.items():
            below = f"{key}.{name}".lstrip(".")
            if inner is not None and name not in value:
                raise InputError(f"{below} must be there: {kind_of(inner).words}, like its default {_show(inner)}")
            check_types(value.get(name), inner, below)
    if isinstance(default, list) and default and isinstance(value, list):
        for i, element in enumerate(value):
            check_types(element, default[min(i, len(default) - 1)], f"{key}[{i}]")


def check_ranges(config: Mapping[str, Any], ranges: Mapping[str, Kind]) -> None:
    """Refuse values outside the ranges that the comments of the yaml files state; null and "auto" are for the code."""
    for key, allowed in ranges.items():
        value, found = _select(config, key)
        if found and value is not None and value != "auto" and not allowed.accepts(value):
            raise InputError(f"{key}={_show(value)}: must be {allowed.words}")


def kind_of(default: Any) -> Kind:
    """What may replace a default value. A default of null or "auto" leaves it to the code that reads it."""
    if default is None or default == "auto":
        return Kind("anything", lambda value: True)
    if isinstance(default, bool):
        return Kind("true or false", lambda value: isinstance(value, bool))
    if isinstance(default, int):
        return Kind("a whole number", is_int)
    if isinstance(default, float):
        return Kind("a number", is_number)
    if isinstance(default, str):
        return Kind("a text", lambda value: isinstance(value, str))
    return Kind("a list" if isinstance(default, list) else "options", lambda value: isinstance(value, type(default)))


def _select(config: Mapping[str, Any], key: str) -> tuple[Any, bool]:
    """The value under a dotted key, and whether there is one."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None, False
        value = value[part]
    return value, True


def _show(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# ------------------------------------------------------------------------------------------ do the parts fit each other

Config = Mapping[str, Any]


def get(config: Config, key: str) -> Any:
    """The value under a dotted key, or None."""
    return _select(config, key)[0]


def chosen(config: Config, group: str) -> str:
    """A group and the option chosen in it, as typed: `model=dcgan`."""
    return f"{group}={get(config, f'choices.{group}')}"


def processes(config: Config) -> int | None:
    """Number of processes of a run; None where that depends on the machine."""
    devices, nodes = get(config, "trainer.devices"), get(config, "trainer.num_nodes") or 1
    count = len(devices) if isinstance(devices, list) else devices
    return count * nodes if is_int(count) and count > 0 else None


def needs_labels(config: Config) -> str | None:
    """A model that needs labels gets them."""
    needed = any(get(config, f"model{part}.needs_labels") for part in ("", ".generator.facts", ".head.facts"))
    if needed and not get(config, "data.classes"):
        return f"{chosen(config, 'model')} needs labels, and {chosen(config, 'data')} has none (data.classes=0)"
    return None


def resolution_supported(config: Config) -> str | None:
    """Both networks are made for the data's resolution."""
    resolution = get(config, "data.resolution")
    for part in ("generator", "trunk"):
        supported = get(config, f"model.{part}.facts.resolutions")
        if supported and resolution not in supported:
            listed = ", ".join(map(str, supported))
            remedy = f"model/{part}=mlp takes any"
            return f"data.resolution={resolution}: {chosen(config, f'model/{part}')} supports {listed}; {remedy}"
    return None


def conditioning_supported(config: Config) -> str | None:
    """The generator can be conditioned in the way that is asked for."""
    how, supported = get(config, "model.g_conditioning"), get(config, "model.generator.facts.conditionings")
    if supported and how not in supported:
        listed = ", ".join(map(str, supported))
        return f"model.g_conditioning={how}: {chosen(config, 'model/generator')} has {listed}"
    return None


def loss_supported(config: Config) -> str | None:
    """A model whose game is its own names the losses whose logits it plays on."""
    supported = get(config, "model.losses")
    if supported and get(config, "choices.loss") not in supported:
        listed = ", ".join(supported)
        return f"{chosen(config, 'loss')}: {chosen(config, 'model')} is a game of its own, on loss={listed}"
    return None


def domains_fit(config: Config) -> str | None:
    """A model that translates between domains gets data with as many."""
    needed = get(config, "model.domains")
    if needed and needed != get(config, "data.domains"):
        return (
            f"{chosen(config, 'model')} translates between two domains, and {chosen(config, 'data')} has one: "
            "data=unpaired_digits, or data=unpaired_folder data.path=DIR"
        )
    return None


def energy_of_reconstruction(config: Config) -> str | None:
    """An energy is a reconstruction error."""
    if get(config, "loss.facts.needs_reconstruction") and not get(config, "model.head.facts.reconstructs"):
        return (
            f"{chosen(config, 'loss')} reads the reconstruction error of an autoencoder, and "
            f"{chosen(config, 'model/head')} has none: model=ebgan, or model/head=reconstruction"
        )
    return None


def packing_fits(config: Config) -> str | None:
    """Packs are whole on every process, and no head asks for the label of a pack."""
    packing, batch = get(config, "model.packing") or 1, get(config, "data.batch_size") or 0
    share = (processes(config) or 1) * (get(config, "trainer.accumulate") or 1)
    if packing > 1 and batch % (packing * share):
        return f"model.packing={packing}: data.batch_size={batch} must be a multiple of {packing * share}"
    if packing > 1 and get(config, "model.head.facts.needs_labels"):
        return f"model.packing={packing}: {chosen(config, 'model/head')} reads one label an image; add model/head=none"
    return None


def top_k_fits(config: Config) -> str | None:
    """A loss that pairs generated images with real ones needs all of them."""
    top_k = get(config, "model.top_k")
    if top_k is not None and top_k < 1 and get(config, "loss.facts.reads_real"):
        return f"model.top_k={top_k}: {chosen(config, 'loss')} compares all images with real ones; leave it 1"
    return None


def batch_divides(config: Config) -> str | None:
    """Every process gets the same share of each micro-batch."""
    batch, count, parts = get(config, "data.batch_size"), processes(config), get(config, "trainer.accumulate") or 1
    if batch is not None and (batch < 1 or batch % ((count or 1) * parts)):
        return (
            f"data.batch_size={batch} cannot be shared evenly by {count or 1} processes with "
            f"trainer.accumulate={parts}: choose a multiple of {(count or 1) * parts}"
        )
    return None


def gradient_penalty_without_batch_norm(config: Config) -> str | None:
    """A penalty on each sample's gradient needs a D in which samples do not influence each other."""
    per_sample = [
        name for name in get(config, "penalty") or {} if get(config, f"penalty.{name}.facts.per_sample_gradient")
    ]
    if per_sample and get(config, "model.d_norm") == "batch":
        return (
            f"penalty {per_sample[0]} takes each sample's gradient, and batch norm in D mixes the samples: "
            "add model.d_norm=none"
        )
    if per_sample and get(config, "model.minibatch"):
        return (
            f"penalty {per_sample[0]} takes each sample's gradient, and minibatch discrimination mixes the samples: "
            "leave model.minibatch 0"
        )
    return None


def monitor_is_produced(config: Config) -> str | None:
    """The monitored score is one that the chosen metrics log."""
    monitor = get(config, "checkpoint.monitor")
    if monitor is None:
        return None
    produced = scores(config)
    if monitor in produced:
        return None
    listed = ", ".join(produced) or "none; choose metrics="
    return f"checkpoint.monitor={monitor}: no chosen metric logs it{near(monitor, produced)} (scores: {listed})"


def scores(config: Config) -> list[str]:
    """The keys that metrics and callbacks log: `facts.scores` of their yaml, of a metric without it its name."""
    keys: list[str] = []
    for name in get(config, "callbacks") or {}:
        keys += get(config, f"callbacks.{name}.facts.scores") or []
    for name in get(config, "metrics") or {}:
        keys += get(config, f"metrics.{name}.facts.scores") or [name]
    return [f"eval/{key}" for key in keys]


RULES: Sequence[Callable[[Config], str | None]] = (
    needs_labels,
    resolution_supported,
    conditioning_supported,
    loss_supported,
    domains_fit,
    energy_of_reconstruction,
    batch_divides,
    packing_fits,
    top_k_fits,
    gradient_penalty_without_batch_norm,
    monitor_is_produced,
)


def check_rules(config: Config) -> None:
    """Refuse parts that do not fit each other.

    Raises:
        InputError: with the first rule's complaint.
    """
    for rule in RULES:
        if complaint := rule(config):
            raise InputError(complaint)
