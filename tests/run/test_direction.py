"""Whether more of a score is better, for every score that ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from saddle.run.direction import higher_is_better

METRICS = sorted((Path(__file__).parent.parent.parent / "conf" / "metrics").glob("*.yaml"))
MORE = {
    "cas", "cas_real", "gan_test", "class_share_min", "classes", "classes_real", "label_accuracy", "classifier_score",
    "inception_score", "density", "coverage", "modes", "high_quality", "prd_f8", "prd_f1_8", "precision", "recall",
}  # fmt: skip
LESS = {
    "class_share_max", "fid", "fid_clip", "fid_dinov2", "fid_infinity", "fid_infinity_slope", "frechet", "intra_fid",
    "intra_frechet", "kid", "kid_std", "mode_jsd", "reverse_kl", "ppl", "ppl_lpips", "swd",
    "ct", "ct_cells",  # below 0: copies; above: other images. Neither end is good
}  # fmt: skip


@pytest.mark.parametrize("path", METRICS, ids=lambda path: path.stem)
def test_every_shipped_score(path: Path) -> None:
    for name, options in (yaml.safe_load(path.read_text()) or {}).items():
        for score in (options or {}).get("facts", {}).get("scores", [name]) if isinstance(options, dict) else []:
            assert (score in MORE) != (score in LESS), f"{score}: say here whether more of it is better"
            assert higher_is_better(f"eval/{score}") == (score in MORE), score


@pytest.mark.parametrize("score", ["eval/code_accuracy", "timing/images_per_second", "eval/estimate_precision"])
def test_further_scores_of_which_more_is_better(score: str) -> None:
    assert higher_is_better(score)


@pytest.mark.parametrize("score", ["parameters/generator", "iterations", "eval/reverse_kl", "peak_memory_bytes"])
def test_further_scores_of_which_less_is_better(score: str) -> None:
    assert not higher_is_better(score)
