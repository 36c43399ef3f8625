"""How long the Frechet distance takes at 2,048 features, by this repository's route and by others, side by side.

    python benchmarks/frechet_speed.py [threads] [repeats]

Every route gets the same means and float64 covariances, in turn, `repeats` times; the table shows the fastest time by
the clock and the least processor time (of all threads), which other work on the machine disturbs less. The rows named
"few samples" compare 1,000 fakes with the real images. Writes benchmarks/results/frechet_speed.json, one entry for each
number of threads.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
REPEATS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
os.environ.update({name: str(THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})

import numpy as np  # noqa: E402 - after the number of threads is set
import scipy.linalg  # noqa: E402
import torch  # noqa: E402
import torchmetrics  # noqa: E402
from torchmetrics.image.fid import _compute_fid  # noqa: E402

from saddle.metrics.frechet import frechet_distance, moments  # noqa: E402

FEATURES, REAL, FAKE, FEW = 2048, 6000, 5000, 1000
RESULTS = Path(__file__).parent / "results" / "frechet_speed.json"
Moments = tuple[torch.Tensor, torch.Tensor]
Route = Callable[[Moments, Moments, tuple[int, int]], float]


def features(seed: int, n: int) -> torch.Tensor:
    """Like pooled features: correlated, with a decaying spectrum, not negative."""
    draws = torch.Generator().manual_seed(99)
    basis = torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=draws))[0]
    scale = torch.arange(1, FEATURES + 1).pow(-0.5) * (1 + 0.1 * seed)
    x = torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(seed)) * scale
    return (x @ basis.T).relu()


def here(real: Moments, fake: Moments, ranks: tuple[int, int]) -> float:
    """saddle.metrics.frechet."""
    return float(frechet_distance(*real, *fake, ranks=ranks))


def torchmetrics_route(real: Moments, fake: Moments, ranks: tuple[int, int]) -> float:
    """Eigenvalues of the product, which is not symmetric."""
    return float(_compute_fid(*real, *fake))


def scipy_route(real: Moments, fake: Moments, ranks: tuple[int, int]) -> float:
    """The general matrix square root, as in the first implementations of FID."""
    root = np.trace(scipy.linalg.sqrtm((real[1] @ fake[1]).numpy())).real
    return float((real[0] - fake[0]).square().sum() + real[1].trace() + fake[1].trace()) - 2 * float(root)


ROUTES: dict[str, Route] = {"saddle": here, "torchmetrics": torchmetrics_route, "scipy sqrtm": scipy_route}


def measure(real: torch.Tensor, fake: torch.Tensor) -> dict[str, dict[str, float]]:
    """Value and times of each route."""
    sides, ranks = (moments(real), moments(fake)), (len(real) - 1, len(fake) - 1)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ROUTES}
    values = {}
    for _ in range(REPEATS):
        for name, route in ROUTES.items():
            clock, processor = time.perf_counter(), time.process_time()
            values[name] = route(*sides, ranks)
            times[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {
        name: {"value": values[name], "clock_s": min(x for x, _ in each), "processor_s": min(x for _, x in each)}
        for name, each in times.items()
    }


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(THREADS)
    real, fake = features(1, REAL), features(2, FAKE)
    cases = {"many samples": measure(real, fake), "few samples": measure(real, fake[:FEW])}
    print(f"{FEATURES} features, {THREADS} threads, {REPEATS} repeats, load {os.getloadavg()[0]:.1f}")
    print(f"{'':14}{'':14}{'clock':>10}{'slower by':>11}{'processor':>11}{'slower by':>11}  value")
    for case, found in cases.items():
        for name, row in found.items():
            columns = "".join(
                f"{row[kind]:{width}.2f}s{row[kind] / found['saddle'][kind]:10.1f}x"
                for kind, width in (("clock_s", 9), ("processor_s", 10))
            )
            print(f"{case:14}{name:14}{columns}  {row['value']:.9f}")
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    kept[f"{THREADS} threads"] = {
        "features": FEATURES,
        "samples": {"real": REAL, "many": FAKE, "few": FEW},
        "repeats": REPEATS,
        "load": os.getloadavg()[0],
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"torch": torch.__version__, "torchmetrics": torchmetrics.__version__, "scipy": scipy.__version__},
        "cases": cases,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
