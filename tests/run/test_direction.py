"""Whether more of a score is better, for every score that ships."""

from __future__ import annotations

import pytest

from saddle.run.direction import higher_is_better, shipped

MORE = {
    "cas", "cas_real", "gan_test", "class_share_min", "classes", "classes_real", "label_accuracy", "classifier_score",
    "inception_score", "density", "coverage", "modes", "high_quality", "prd_f8", "prd_f1_8", "precision", "recall",
}  # fmt: skip
LESS = {
    "class_share_max", "fid", "fid_clip", "fid_dinov2", "fid_infinity", "fid_infinity_slope", "frechet", "intra_fid",
    "intra_frechet", "kid", "kid_std", "mode_jsd", "reverse_kl", "ppl", "ppl_lpips", "swd",
    "ct", "ct_cells",  # below 0: copies; above: other images. Neither end is good
}  # fmt: skip


@pytest.mark.parametrize("score", sorted(MORE | LESS))
def test_every_shipped_score(score: str) -> None:
    assert score in shipped()
    assert higher_is_better(f"eval/{score}") == higher_is_better(score) == (score in MORE)


@pytest.mark.parametrize(
    "score",
    ["eval/code_accuracy", "eval/a_to_b_accuracy", "timing/images_per_second", "eval/recall_b_to_a", "eval/cas_real"],
)
def test_further_scores_of_which_more_is_better(score: str) -> None:
    assert higher_is_better(score)


@pytest.mark.parametrize(
    "score", ["parameters/generator", "iterations", "eval/cycle_a_l1", "eval/frechet_b_to_a", "eval/swd_32", "unknown"]
)
def test_further_scores_of_which_less_is_better(score: str) -> None:
    assert not higher_is_better(score)


def test_a_metric_of_ones_own_says_it_in_the_config() -> None:
    """Without a word in any file of the repository; one name, a list of names, all names."""
    nodes = {
        "sharpness": {"facts": {"higher_is_better": True}},
        "both": {"facts": {"scores": ["gain", "pain"], "higher_is_better": ["gain"]}},
        "error": {"facts": {"scores": ["error", "error_margin"]}},
    }
    mine = {"facts": {"scores": ["smiles"], "higher_is_better": True}}
    config = {"metrics": nodes, "callbacks": {"mine": mine, "none": None}}
    expected = {"sharpness": True, "gain": True, "pain": False, "smiles": True, "error": False}
    assert {score: higher_is_better(f"eval/{score}", config) for score in expected} == expected
    assert not higher_is_better("eval/sharpness")
    assert higher_is_better("eval/inception_score", config)
