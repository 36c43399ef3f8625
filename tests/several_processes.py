"""What tests compute on several processes. The fixtures `pair` and `trio` run this file; the tests compute the same on
one process.

`python several_processes.py FOLDER [GROUP ...]` with the variables of torch.distributed writes FOLDER/rank<r>.pt,
{job: result}: of the training runs in RUNS, MODELS or ACCUMULATED; without groups, of the first two and the small jobs.
"""

import functools
import itertools
import math
import re
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from tiny import CONF, compose_config
from torch import Tensor, nn

from saddle import distributed
from saddle.distributed import all_gather, all_reduce, average_gradients, broadcast_object, rank, world_size
from saddle.networks.norm import BatchNorm
from saddle.randomness import generator

Results = dict[str, Tensor]

TINY = ["precision=64", "data.batch_size=12", "data.channels=1", "model.ema=0.9"]
DCGAN = [*TINY, "model=dcgan", "data.resolution=8", "model.width=4", "model.latent_dim=6", "data.flip=true"]
BIGGAN = [*TINY, "model=biggan", "data.classes=4", "model.width=2", "model.latent_dim=20"]
HEADED = [*TINY, "data.classes=4", "data.resolution=16", "model.width=4", "model.latent_dim=6"]
#: The runs that are compared beside one of every model: overrides of train.yaml.
RUNS = {
    "dcgan_accumulate": [*DCGAN, "trainer.accumulate=2", "model.d_steps=2"],
    "dcgan_clipped": [*DCGAN, "trainer.accumulate=2", "model.gradient_clip_val=0.1"],
    "dcgan_r1": [*DCGAN, "model.d_norm=none", "penalty=[r1,r2]", "penalty.r1.every=2"],
    "dcgan_penalties": [
        *DCGAN,
        "penalty=[lecam,feature_matching,path_length,weight_clip,drift,pulling_away,orthogonal]",
        "penalty.lecam.start=1",
        "penalty.path_length.every=2",
        "penalty.weight_clip.limit=0.05",
        "loss=wasserstein",
    ],
    "dcgan_spectral_penalties": [
        *DCGAN,
        "model.d_norm=spectral",
        "loss=least_squares",
        "penalty=[r1,lecam,gradient_penalty,dragan,consistency]",
        "penalty.lecam.start=0",
        "penalty.consistency.latent_d=20",
        "penalty.consistency.latent_g=0.5",
    ],
    "dcgan_packing": [
        *DCGAN,
        "model.packing=2",
        "model.minibatch=5",
        "loss=hinge",
        "model.top_k=0.5",
        "model.top_k_decay=0.8",
    ],
    "dcgan_diffaugment": [*DCGAN, "augment=diffaugment", "data.channels=3"],
    "dcgan_apa": [*DCGAN, "augment=apa", "augment.p=0.5", "augment.every=1", "model.g_lr=1e-3"],
    "sngan_ada": [
        *TINY,
        *["model=sngan", "data.resolution=32", "model.width=4", "data.channels=3"],
        *["augment=ada", "augment.p=0.7", "augment.every=1", "augment.kimg=0.05"],
        *["augment.imgfilter=1.0", "augment.noise=1.0", "augment.cutout=1.0"],
    ],
    "acgan_twins": [*HEADED, "model=acgan", "model.head.variant=tac"],
    "acgan_double": [*HEADED, "model=acgan", "model.head.variant=adc"],
    "stylegan2_ada_mapped": [
        *HEADED,
        "model=stylegan2_ada",
        "model/head=mapped_projection",
        "augment.p=0.3",
        "model.trunk.group=2",
    ],
    "r3gan_projection": [*HEADED, "model=r3gan", "model/head=r3gan_projection"],
    "dcgan_minimax": [*DCGAN, "loss=minimax"],
    "dcgan_relativistic_hinge": [*DCGAN, "loss=relativistic_average_hinge", "model.d_norm=layer"],
    "dcgan_relativistic_squares": [*DCGAN, "loss=relativistic_average_least_squares", "model.d_norm=layer"],
    "dcgan_relativistic": [*DCGAN, "loss=relativistic_average", "model.d_norm=layer", "penalty=[r1,gradient_penalty]"],
    "biggan_accumulate": [*BIGGAN, "trainer.accumulate=2", "penalty=[orthogonal,lecam]", "penalty.lecam.start=0"],
    # a bias before a norm has no gradient but rounding, which Adam turns into steps: hence a smaller learning rate
    "biggan_batch": [*BIGGAN, "model.d_norm=batch", "model.d_steps=1", "model.d_lr=1e-4"],
}
GROUPED = ["model.latent_dim=6", "model.trunk.group=2"]
GROWING = [*GROUPED, "model.batch_sizes=[12]", "model.fade_kimg=0.024", "model.stable_kimg=0.012"]
#: What a model needs to be tiny beside narrow networks and small images.
SMALL = {
    "began": ["model.latent_dim=6", "model.lambda_k=0.5", "model.gamma=1.0"],  # so that the controller moves k
    "biggan": ["model.latent_dim=20"],
    "contragan": ["model.latent_dim=20"],
    "reacgan": ["model.latent_dim=20"],
    "infogan": ["model.latent_dim=20"],
    "cyclegan": [
        *["data=unpaired_noise", "data.resolution=16", "model.blocks=1", "model.pool=12"],
        *["model.g_lr=2e-4", "model.d_lr=2e-4"],
    ],
    "stacked_gan": [  # so that each iteration is of another stage
        *["model.latent_dim=6", "model.generator.image_noise=2", "model.generator.features=8"],
        *["model.generator.hidden=8", "model.encoder_width=2"],
        *["model.encoder_iterations=1", "model.independent_iterations=1"],
    ],
    "progan": [*GROWING],
    # without a larger eps a bias before the norm of constant maps, which has no gradient but rounding, moves
    "stylegan": [*GROWING, "model.start_resolution=4", "model.eps=1e-4"],
    "stylegan2": [*GROUPED],
    "stylegan2_ada": [*GROUPED, "augment.p=0.5", "augment.every=1", "augment.kimg=0.05"],
    "biggan_deep": ["model.latent_dim=6", "model.eps=1e-6"],
}


MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
#: How an option of a group is run that neither RUNS nor a model has: on a small DCGAN.
PLAIN = {
    "penalty": lambda name: [*DCGAN, "model.d_norm=spectral", f"penalty=[{name}]"],
    "loss": lambda name: [*DCGAN, f"loss={name}"],
    "augment": lambda name: [*DCGAN, f"augment={name}"],
    "model/head": lambda name: [*HEADED, "model=dcgan", "model.d_norm=spectral", f"model/head={name}"],
    "model/generator": lambda name: [*HEADED, "model=dcgan", f"model/generator={name}", size_of("generator", name)],
    "model/trunk": lambda name: [*HEADED, "model=dcgan", f"model/trunk={name}", size_of("trunk", name)],
}


def options_of(group: str) -> list[str]:
    """The names of all options of a group that do something."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "none")


def size_of(part: str, name: str) -> str:
    """The smallest resolution of a network, of 8 pixels or more."""
    facts = OmegaConf.load(CONF / f"model/{part}/{name}.yaml").get("facts", {})
    return f"data.resolution={min(size for size in facts.get('resolutions') or [8] if size >= 8)}"


def add_what_no_run_has() -> None:
    """A run for every option that is in no run yet, so that whatever is shipped is compared."""
    texts = [re.sub(r"#.*", "", path.read_text()) for path in (CONF / "model").glob("*.yaml")]
    text = "\n".join([*texts, *itertools.chain.from_iterable(RUNS.values())])
    for group, words in PLAIN.items():  # chosen as `penalty=[r1,r2]` or, in a model's yaml, as `trunk: dcgan`
        chosen = " ".join(re.findall(rf"\b{group.rpartition('/')[2]}(?:@\S+)?[:=] ?(.*)", text))
        known = {*re.findall(r"\w+", chosen)}
        RUNS.update({f"{group} {name}": words(name) for name in options_of(group) if name not in known})


add_what_no_run_has()
#: Every model once more, in two micro-batches; twice the batch, so that batch norm has enough in each.
ACCUMULATED = {f"{name}_in_two": name for name in MODELS}


@functools.cache
def overrides(name: str) -> list[str]:
    """Those of a run of RUNS, or of a shipped model at the smallest size that its networks support."""
    if name in RUNS:
        return RUNS[name]
    if name in ACCUMULATED:
        words = overrides(ACCUMULATED[name])
        growing = ["model.batch_sizes=[24]"] if GROWING[-1] in words else []
        return [*words, "data.batch_size=24", "trainer.accumulate=2", *growing]
    networks = compose_config(f"model={name}").model
    facts = [networks[part].get("facts", {}) for part in ("generator", "trunk")]
    supported = [set(each.get("resolutions") or [8]) for each in facts]
    size = min(supported[0] & supported[1])
    latent = SMALL.get(name, ["model.latent_dim=6"])
    return [*TINY, f"model={name}", f"data.resolution={size}", "data.classes=4", "model.width=4", *latent]


def mine(x: Tensor) -> Tensor:
    """This process's rows of a global batch."""
    rows = len(x) // world_size()
    return x[rank() * rows : (rank() + 1) * rows]


def numbers(*shape: int, key: str = "x") -> Tensor:
    """Normal numbers that every process knows."""
    return torch.randn(shape, generator=generator(0, key), dtype=torch.float64)


def training(name: str) -> Results:
    """State and tracked scalars after three iterations of a run, by Lightning's trainer."""
    from tiny import train

    processes = ["trainer=ddp_cpu", f"trainer.devices={world_size()}"] if dist.is_initialized() else []
    model, tracked = train(3, *processes, *overrides(name))
    return dict(model.state_dict()) | {key: torch.tensor(value, dtype=torch.float64) for key, value in tracked.items()}


def collectives() -> Results:
    """Values, gradients and second derivatives of a scalar that couples the rows of all processes.

    Every process computes the same f(all rows), so the gradients of its rows are the sum over processes: R times the
    gradient of f.
    """
    x = mine(numbers(6, 3)).requires_grad_()
    rows = all_gather(x)
    total = all_reduce(x.square().sum())
    value = rows.prod(0).sum() * total
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    (second,) = torch.autograd.grad(all_reduce(gradient.pow(3).sum()), x)
    return {"rows": rows, "total": total, "gradient": gradient / world_size(), "second": second / world_size() ** 4}


def averaging() -> Results:
    """`average_gradients` of parameters of several shapes, one of which has no gradient on any process."""
    shapes = [(3,), (2, 3, 4, 4), ()]
    parameters = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
    for i, parameter in enumerate(parameters):
        parameter.grad = numbers(2, *parameter.shape, key=f"grad{i}")[rank()]
    parameters[1].grad = parameters[1].grad.contiguous(memory_format=torch.channels_last)
    parameters.insert(1, nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    riders = average_gradients(iter(parameters), torch.tensor([1.0 + rank(), math.inf * rank() if rank() else 0.0]))
    return {"riders": riders} | {str(i): p.grad for i, p in enumerate(parameters) if p.grad is not None}


def batch_norm(kind: str) -> Results:
    """Outputs, statistics and gradients of first and second order of a batch norm on the rows of this process."""
    shape = (6, 3, 4, 4) if kind == "images" else (6, 3)
    layer = BatchNorm(3).double()
    with torch.no_grad():
        layer.weight.copy_(numbers(3, key="gain"))
        layer.bias.copy_(numbers(3, key="bias"))
    x = mine(5 + 2 * numbers(*shape)).requires_grad_()
    factors = mine(numbers(*shape, key="factors"))
    layer(x)  # so that the running statistics, which the sums are shifted by, are no longer initial
    y = layer(x)
    parameters = [layer.weight, layer.bias]
    gradients = torch.autograd.grad((y.pow(3) * factors).sum(), [x, *parameters], create_graph=True)
    second = torch.autograd.grad(gradients[0].pow(3).sum(), [x, *parameters], allow_unused=True)
    results = {"output": y, "input_gradient": gradients[0], "second_input_gradient": second[0]}
    results |= {"mean": layer.running_mean, "variance": layer.running_var}
    for name, value in zip(("weight", "bias"), gradients[1:], strict=True):
        results[f"{name}_gradient"] = all_reduce(value)
    return results | {"second_weight_gradient": all_reduce(second[1])}


def evaluation_of_one() -> bool:
    """Whether process 0 can use a batch norm in evaluation while the other one does something else."""
    layer = BatchNorm(3).eval()
    return rank() != 0 or layer(torch.ones(2, 3)).isfinite().all().item()


def helpers() -> dict:
    """The small functions that have no gradient."""
    distributed.barrier()
    return {"broadcast": broadcast_object({"rank": rank()}), "rank": rank(), "world_size": world_size()}


def detached(results: Results) -> Results:
    return {name: value.detach() for name, value in results.items()}


def main(folder: Path, groups: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    results: dict = {} if groups else small_jobs()
    for name in itertools.chain.from_iterable(globals()[group] for group in groups or ("RUNS", "MODELS")):
        results[f"training/{name}"] = detached(training(name))
    torch.save(results, folder / f"rank{rank()}.pt")
    dist.barrier()


def small_jobs() -> dict:
    results = {"collectives": detached(collectives()), "averaging": detached(averaging()), "helpers": helpers()}
    results["evaluation_of_one"] = evaluation_of_one()
    for kind in ("images", "vectors"):
        results[f"batch_norm/{kind}"] = detached(batch_norm(kind))
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
