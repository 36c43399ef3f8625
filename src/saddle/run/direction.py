"""Whether more of a score is better, by its name. Free of torch."""

from __future__ import annotations

#: Parts of the names of scores of which more is better; of all others less is.
HIGHER_IS_BETTER = (
    "inception_score",
    "classifier_score",
    "accuracy",
    "agreement",
    "precision",
    "recall",
    "density",
    "coverage",
    "prd_f",
    "modes",
    "high_quality",
    "cas",
    "gan_test",
    "classes",
    "class_share_min",
    "per_second",
)


def higher_is_better(score: str) -> bool:
    """Whether more of a score is better, for example of `eval/inception_score`."""
    return any(word in score for word in HIGHER_IS_BETTER)
