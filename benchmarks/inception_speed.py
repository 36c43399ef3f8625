"""Images per second through Inception: torch-fidelity's network, this repository's in float32 and in bfloat16.

    python benchmarks/inception_speed.py [--images 128] [--batch 64]

They take turns on the same random images and the same random weights, in one process, on all cores it may use; the best
of three rounds counts. 64 is torch-fidelity's own batch; as it is faster with few images at a time, it is measured with
8 of them too. Writes benchmarks/results/inception_speed.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from runs import keep
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from saddle.metrics.features import InceptionExtractor

ROUNDS = 3
SMALL = 8  # images at a time that suit torch-fidelity best


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    images = torch.randint(0, 256, (options.images, 3, 32, 32), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(Path(folder) / "weights.pth")
        theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(weights))
        ours, fast = InceptionExtractor(str(weights)), InceptionExtractor(str(weights), bf16=True)
        networks: dict[str, Callable[[Tensor], Tensor]] = {
            "torch-fidelity": lambda x: theirs(x)[0],
            f"torch-fidelity, batches of {SMALL}": lambda x: torch.cat([theirs(part)[0] for part in x.split(SMALL)]),
            "float32": lambda x: ours(x).features,
            "bfloat16": lambda x: fast(x).features,
        }
        expected = theirs(images[: options.batch])[0]
        seconds: dict[str, float] = dict.fromkeys(networks, float("inf"))
        deviation = {}
        with torch.no_grad():
            for name, network in networks.items():  # also the warm-up
                deviation[name] = float((network(images[: options.batch]) - expected).norm() / expected.norm())
            for _ in range(ROUNDS):
                for name, network in networks.items():
                    seconds[name] = min(seconds[name], timed(network, images, options.batch))
    rows = {
        name: {
            "images_per_second": options.images / seconds[name],
            "times_torch_fidelity": seconds["torch-fidelity"] / seconds[name],
            "times_its_best": min(x for key, x in seconds.items() if key.startswith("torch-fidelity")) / seconds[name],
            "deviation": deviation[name],
        }
        for name in networks
    }
    for name, row in rows.items():
        print(f"{name:30} " + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    keep("inception_speed", {"threads": torch.get_num_threads(), **vars(options), "rows": rows})


def random_weights(path: Path) -> Path:
    """A weights file in torch-fidelity's format, whose features are of the size that the real ones have."""
    template = path.with_name("empty.pth")
    torch.save({}, template)
    load = FeatureExtractorInceptionV3.load_state_dict
    FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
    try:
        network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(template))
    finally:
        FeatureExtractorInceptionV3.load_state_dict = load
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)
    return path


def timed(network: Callable[[Tensor], Tensor], images: Tensor, batch: int) -> float:
    """Seconds for all images."""
    start = time.perf_counter()
    for part in images.split(batch):
        network(part)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
