"""Whether more of a score is better, by its name. Free of torch.

The yaml of what logs a score says so, in conf/metrics and conf/callbacks, and thus in the config.yaml of a run:
``facts.higher_is_better`` is true for all scores of a metric, or lists those of which more is better. Of all others
less is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from saddle.config.check import logged
from saddle.config.compose import CONF

SPEEDS = frozenset({"images_per_second"})  # what a run logs of itself, without any yaml


def higher_is_better(score: str, config: Mapping[str, Any] | None = None) -> bool:
    """Whether more of a score is better, for example of `eval/inception_score`.

    What is derived of a score, such as `precision_b_to_a` or `inception_score_real`, is as good as the score itself,
    unless it is named. The `config` of a run that logs it tells of metrics that this repository has not.
    """
    name = score.rsplit("/", 1)[-1]
    known = {**shipped(), **dict(directions(config or {}))}
    stems = [stem for stem in known if name == stem or name.startswith(f"{stem}_")]
    return name in SPEEDS or (known[max(stems, key=len)] if stems else False)


@cache
def shipped() -> Mapping[str, bool]:
    """The scores of the repository's metrics and callbacks, and whether more of each is better."""
    found: dict[str, bool] = {}
    for group in ("metrics", "callbacks"):
        for path in sorted((CONF / group).rglob("*.yaml")):
            found |= directions({group: yaml.safe_load(path.read_text(encoding="utf-8"))})
    return found


def directions(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The scores that the metrics and callbacks of a config log, and whether more of each is better."""
    for score, facts in logged(config):
        higher = facts.get("higher_is_better")
        yield score, higher is True or score in (higher or ())
