"""The config is checked before anything heavy is imported. Free of torch.

Three things are checked: the type of every option (that of its default in its yaml file), its range (stated by the
comment beside that default), and whether the parts fit each other (`RULES`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from saddle.config.compose import Composer, first_line, near, parse
from saddle.config.ranges import Kind, is_int, is_number
from saddle.errors import InputError, cause_of

SCHEDULE = frozenset({"start", "end", "kimg", "iterations", "begin", "shape"})
LISTS = ("penalty", "metrics", "logger")  # groups of which several options can be chosen
DEFAULT_MINUTES = 5.0  # of training, where neither iterations nor minutes are given


def plain(cfg: DictConfig, complete: bool = True) -> dict[str, Any]:
    """A config as resolved plain containers, without its `hydra` node; where it is not `complete`, "???" may be in it.

    Raises:
        InputError: if a value is missing or an interpolation cannot be resolved.
    """
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        container: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=complete)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} must be given: {error.full_key}=...") from None
    except OmegaConfBaseException as error:
        if cause := cause_of(error, InputError):  # of a resolver
            raise cause from None
        raise InputError(f"{error.full_key or 'config'}: {first_line(error)}") from None
    return container


def length(cfg: Mapping[str, Any] | DictConfig) -> tuple[int | None, float | None]:
    """The iterations and the minutes of training after which a run ends; five minutes where neither is given."""
    iterations, minutes = cfg["iterations"], cfg["minutes"]
    return iterations, DEFAULT_MINUTES if iterations is None and minutes is None else minutes


def checked(composer: Composer, overrides: Sequence[str], rules: bool = True) -> dict[str, Any]:
    """The checked config of a command line: resolved and plain, with the names of the chosen options under `choices`.

    Without `rules` it is not checked whether the parts fit each other.

    Raises:
        InputError: naming the first thing that is wrong.
    """
    cfg = composer.compose(overrides)
    config, reference = plain(cfg), plain(composer.reference(overrides), complete=False)
    for key in config:
        if key not in reference:
            raise InputError(f"there is no option {key}{near(key, [*reference], 0.7)}")
    for key in (parse(text).key_or_group for text in overrides):  # first, so that an error names what was typed
        value = get(config, key, missing={})  # a group, or deleted
        if not isinstance(value, dict):
            check_types(value, get(reference, key), key)
    check_types(config, reference)
    check_ranges(config, composer.ranges(overrides), reference)
    config["choices"] = {key: value for key, value in cfg.hydra.runtime.choices.items() if not key.startswith("hydra/")}
    config["choices"] |= {group: list(config[group]) for group in LISTS if group in config}  # Hydra records none
    for group in filter(composer.library.takes_several, config):  # nor of others where a list is typed
        config["choices"].setdefault(group, list(config[group]))
    if rules:
        check_rules(config, (*RULES, metrics_are_evaluated))  # older run folders do not state the fact
    return config


def check_sweep(composer: Composer, overrides: Sequence[str]) -> None:
    """Check the options of the launcher and the sweeper of a sweep.

    Raises:
        InputError: naming the first that is wrong.
    """
    chosen, reference = (
        {"hydra": {key: OmegaConf.to_container(cfg.hydra[key], resolve=True) for key in ("launcher", "sweeper")}}
        for cfg in (composer.compose(overrides), composer.reference(overrides))
    )
    check_types(chosen, reference)
    check_ranges(chosen, composer.ranges(overrides), reference)


def check_types(value: Any, default: Any, key: str = "") -> None:
    """Check a node and all below it: what differs from its default must be of its default's type."""
    kind = kind_of(default)
    if value != default and not kind.accepts(value):
        raise InputError(f"{key}={_show(value)}: must be {kind.words}, like its default {_show(default)}")
    if isinstance(default, dict):
        for name, inner in default.items():
            below = f"{key}.{name}".lstrip(".")
            if name not in value:
                raise InputError(f"{below} must be there: {kind_of(inner).words}, like its default {_show(inner)}")
            check_types(value.get(name), inner, below)
    if isinstance(default, list) and default and isinstance(value, list):
        for i, element in enumerate(value):
            check_types(element, default[min(i, len(default) - 1)], f"{key}[{i}]")


def check_ranges(config: Mapping[str, Any], kinds: Mapping[str, Kind], reference: Mapping[str, Any]) -> None:
    """Refuse what is not of the kind that the comments of the yaml files state.

    Where null or "auto" is the default of the `reference`, it is for the code.
    """
    for key, kind in sorted(kinds.items(), key=lambda item: item[1].as_typed):  # files are looked for in the end
        value = get(config, key, missing=reference)
        default = value in (None, "auto") and value == get(reference, key)
        if value is not reference and not default and not kind.accepts(value):
            fault = kind.fault(value)
            raise InputError(f"{key}={_show(value)}{f': {fault}' if fault else f': must be {kind.words}'}")


def kind_of(default: Any) -> Kind:
    """What may replace a default value. What may replace null, "auto" or "???" is said by the comment beside it."""
    if default in (None, "auto", "???"):
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


def _show(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# ------------------------------------------------------------------------------------------ do the parts fit each other

Config = Mapping[str, Any]


def get(config: Config, key: str, missing: Any = None) -> Any:
    """The value under a dotted key, or `missing`."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return missing
        value = value[part]
    return value


def chosen(config: Config, group: str) -> str:
    """A group and the option chosen in it, as typed: `model=dcgan`."""
    return f"{group}={get(config, f'choices.{group}')}"


def processes(config: Config) -> int | None:
    """Number of processes of a run; None where that depends on the machine."""
    devices, nodes = get(config, "trainer.devices"), get(config, "trainer.num_nodes") or 1
    count = len(devices) if isinstance(devices, list) else devices
    return count * nodes if is_int(count) and count > 0 else None


def model_suits_data(config: Config) -> Iterator[str]:
    """A model that needs labels, or two domains, gets them, and both networks are made for the data's resolution."""
    model, data, resolution = chosen(config, "model"), chosen(config, "data"), get(config, "data.resolution")
    needs_labels = any(get(config, f"model{part}.needs_labels") for part in ("", ".generator.facts", ".head.facts"))
    if needs_labels and not get(config, "data.classes"):
        yield f"{model} needs labels, and {data} has none (data.classes=0)"
    for part in ("generator", "trunk"):
        supported = get(config, f"model.{part}.facts.resolutions")
        if supported and resolution not in supported:
            listed, remedy = ", ".join(map(str, supported)), f"model/{part}=mlp takes any"
            yield f"data.resolution={resolution}: {chosen(config, f'model/{part}')} supports {listed}; {remedy}"
    domains = get(config, "model.domains")
    if domains and domains != get(config, "data.domains"):
        remedy = "data=unpaired_digits, or data=unpaired_folder data.path=DIR"
        yield f"{model} translates between two domains, and {data} has one: {remedy}"


def loss_suits_model(config: Config) -> Iterator[str]:
    """A loss gets what it reads: a model's own game is played on some losses only, an energy is a reconstruction error,
    and a loss that pairs generated images with real ones needs all of them.
    """
    loss, supported, top_k = chosen(config, "loss"), get(config, "model.losses"), get(config, "model.top_k")
    if supported and get(config, "choices.loss") not in supported:
        yield f"{loss}: {chosen(config, 'model')} is a game of its own, on loss={', '.join(supported)}"
    if get(config, "loss.facts.needs_reconstruction") and not get(config, "model.head.facts.reconstructs"):
        yield (
            f"{loss} reads the reconstruction error of an autoencoder, and {chosen(config, 'model/head')} has none: "
            "model=ebgan, or model/head=reconstruction"
        )
    if top_k is not None and top_k < 1 and get(config, "loss.facts.reads_real"):
        yield f"model.top_k={top_k}: {loss} compares all images with real ones; leave it 1"


def conditioning_supported(config: Config) -> Iterator[str]:
    """The generator can be conditioned in the way that is asked for."""
    how, supported = get(config, "model.g_conditioning"), get(config, "model.generator.facts.conditionings")
    if supported and how not in supported:
        yield f"model.g_conditioning={how}: {chosen(config, 'model/generator')} has {', '.join(map(str, supported))}"


def several_processes_talk(config: Config) -> Iterator[str]:
    """A trainer of several processes has a strategy that puts their numbers together."""
    count, strategy = processes(config) or 1, get(config, "trainer.strategy")
    if count > 1 and isinstance(strategy, str):
        key = "devices" if get(config, "trainer.devices") != 1 else "num_nodes"
        remedy = "trainer=ddp_cpu" if get(config, "trainer.accelerator") == "cpu" else "trainer=ddp"
        value = get(config, f"trainer.{key}")
        yield f"trainer.{key}={_show(value)}: {chosen(config, 'trainer')} is one process; {remedy} has several"


def batch_divides(config: Config) -> Iterator[str]:
    """Every process gets the same share of each micro-batch, in whole packs; no head asks for the label of a pack."""
    batch, packing = get(config, "data.batch_size"), get(config, "model.packing") or 1
    count, parts = processes(config) or 1, get(config, "trainer.accumulate") or 1
    if batch is not None and (batch < 1 or batch % (count * parts)):
        yield (
            f"data.batch_size={batch} cannot be shared evenly by {count} processes with "
            f"trainer.accumulate={parts}: choose a multiple of {count * parts}"
        )
    if packing > 1 and (batch or 0) % (packing * count * parts):
        yield f"model.packing={packing}: data.batch_size={batch} must be a multiple of {packing * count * parts}"
    if packing > 1 and get(config, "model.head.facts.needs_labels"):
        yield f"model.packing={packing}: {chosen(config, 'model/head')} reads one label an image; add model/head=none"


def samples_are_apart(config: Config) -> Iterator[str]:
    """A penalty on each sample's gradient needs a D in which samples do not influence each other."""
    for name in get(config, "penalty") or {}:
        if get(config, f"penalty.{name}.facts.per_sample_gradient"):
            reads = f"penalty {name} takes each sample's gradient, and"
            if get(config, "model.d_norm") == "batch":
                yield f"{reads} batch norm in D mixes the samples: add model.d_norm=none"
            if get(config, "model.minibatch"):
                yield f"{reads} minibatch discrimination mixes the samples: leave model.minibatch 0"


def needs_are_met(config: Config) -> Iterator[str]:
    """What a callback, a metric or another part states under `facts.needs`, by dotted key, is so."""
    for group, node in config.items():
        parts = node.items() if isinstance(node, Mapping) else ()
        for name, part in parts:
            for key, wanted in (get(part, "facts.needs") or {}).items():
                if get(config, key) != wanted:
                    source = chosen(config, key.partition(".")[0])
                    having = get(config, key, missing="no such option")
                    typed = chosen(config, group) if isinstance(get(config, f"choices.{group}"), str) else group
                    yield f"{typed}: its part {name} needs {key}={_show(wanted)}, and {source} has {_show(having)}"


def schedules_are_complete(config: Config) -> Iterator[str]:
    """Every schedule says where it ends and how long it takes."""
    for name, options in (get(config, "model.schedules") or {}).items():
        if fault := schedule_fault(options):
            yield f"model.schedules.{name}={_show(options)}: {fault}"


def schedule_fault(options: Any) -> str | None:
    """What is wrong with the options of a schedule (see `saddle.schedules`), or None."""
    usage = "give end, one of kimg and iterations, and if wanted start, begin, shape"
    if not isinstance(options, Mapping):
        return f"{usage}, e.g. {{end:0,iterations:50000}}"
    if unknown := sorted(set(options) - SCHEDULE):
        return f"{usage}; {', '.join(unknown)} is no option"
    if "end" not in options or ("kimg" in options) == ("iterations" in options):
        return usage
    for key in ("start", "end", "kimg", "iterations", "begin"):
        if key in options and not is_number(options[key]):
            return f"{key}={_show(options[key])} must be a number"
    return None


def something_is_scored(config: Config) -> Iterator[str]:
    """The command that scores is told what: a run, or two sets of images, with options that these have."""
    if "fake" not in config:
        return
    given = [option for option in ("run", "real", "fake") if config[option] is not None]
    if given not in (["run"], ["real", "fake"]):
        yield "say what to score: either run=DIR, or both real=PATH and fake=PATH"
    for option in ("seeds", "truncation"):
        if config["run"] is None and config[option] is not None:
            value = _show(config[option])
            yield f"{option}={value}: the images of files are what they are; leave it, or score run=DIR"
    seeds = config["seeds"]
    if seeds is not None and not (all(is_int(x) and x >= 0 for x in seeds) and len(set(seeds)) == len(seeds)):
        yield f"seeds={seeds}: give different whole numbers from 0, e.g. seeds=[0,1,2]"
    if seeds is not None and len(seeds) == 1:
        yield f"seeds={seeds}: a standard deviation needs at least two; for one give seed={seeds[0]}"
    if config["neighbours"] and config["out"] is None and config["run"] is None:
        count = config["neighbours"]
        yield f"neighbours={count}: the picture is written beside the JSON file; give out=FILE.json"


def monitor_is_produced(config: Config) -> Iterator[str]:
    """The monitored score is one that the chosen metrics log."""
    monitor = get(config, "checkpoint.monitor")
    if monitor is not None and (missing := unproduced(config, monitor)):
        yield f"checkpoint.monitor={monitor}: {missing}"


def metrics_are_evaluated(config: Config) -> Iterator[str]:
    """Where a score is monitored, a callback evaluates the metrics, as its `facts.evaluates` says."""
    monitor, callbacks = get(config, "checkpoint.monitor"), get(config, "callbacks")
    if monitor is not None and callbacks and not any(get(node, "facts.evaluates") for node in callbacks.values()):
        yield f"checkpoint.monitor={monitor}: no callback evaluates the metrics; callbacks=default has one"


def watched_is_produced(config: Config) -> Iterator[str]:
    """A score that a callback watches, such as EarlyStopping, is one that the chosen metrics log."""
    for name, node in (config.get("callbacks") or {}).items():
        monitor = str(get(node, "monitor"))
        if monitor.startswith("eval/") and (missing := unproduced(config, monitor)):
            yield f"callbacks.{name}.monitor={monitor}: {missing}"


def unproduced(config: Config, score: str) -> str | None:
    """That no chosen metric or callback logs a score, with the near match; None if one does."""
    produced = scores(config)
    if score in produced:
        return None
    listed = ", ".join(produced) or "none; choose metrics="
    return f"no chosen metric logs {score}{near(score, produced)} (scores: {listed})"


def scores(config: Config) -> list[str]:
    """The keys under which metrics and callbacks log their scores."""
    return [f"eval/{score}" for score, _ in logged(config)]


def logged(config: Config) -> Iterator[tuple[str, Config]]:
    """The scores that callbacks and metrics log, and what else the yaml of each states as facts.

    They are those of `facts.scores`; of a metric without it, its name.
    """
    for group in ("callbacks", "metrics"):
        for name, node in (config.get(group) or {}).items():
            facts = get(node, "facts") or {}
            for score in facts.get("scores") or ([name] if group == "metrics" else []):
                yield str(score), facts


def packages_are_there(config: Config) -> Iterator[str]:
    """What needs a package that does not come with the repository finds it."""
    for group in ("callbacks", "metrics", "logger"):
        for name, node in (config.get(group) or {}).items():
            package = get(node, "facts.requires")
            if package and find_spec(package) is None:
                yield f"{group}={name} needs a package that is not here: pip install {package}"


Rule = Callable[[Config], Iterator[str]]

RULES: Sequence[Rule] = (
    model_suits_data,
    conditioning_supported,
    loss_suits_model,
    several_processes_talk,
    batch_divides,
    samples_are_apart,
    needs_are_met,
    schedules_are_complete,
    monitor_is_produced,
    something_is_scored,
    watched_is_produced,
    packages_are_there,
)


def warnings_of(config: Config) -> Iterator[str]:
    """What is allowed and seldom meant."""
    holds = [get(config, "model"), *(get(config, "penalty") or {}).values()]
    if get(config, "loss.facts.needs_lipschitz") and not any(get(part, "facts.holds_critic") for part in holds):
        yield (
            f"{chosen(config, 'loss')}: nothing holds the critic's slope, so its values can grow without end: add "
            "penalty=[weight_clip], penalty=[gradient_penalty] model.d_norm=none, or model.d_norm=spectral"
        )


def check_rules(config: Config, rules: Sequence[Rule] = RULES) -> None:
    """Refuse parts that do not fit each other.

    Raises:
        InputError: with the first rule's complaint.
    """
    for complaint in chain.from_iterable(rule(config) for rule in rules):
        raise InputError(complaint)
