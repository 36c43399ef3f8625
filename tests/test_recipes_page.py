"""docs/recipes.md: every published recipe, with the batch and the length that its config has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import Composer

ROOT = Path(__file__).parent.parent
OWN = ("ring", "grid")
RECIPES = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml") if path.stem not in OWN)
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in (ROOT / "docs" / "recipes.md").read_text().splitlines()
    if line.startswith("| `") and not line.startswith("| `experiment=`")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    """A composer of the shipped configs."""
    resolvers.register()
    with Composer(ROOT / "conf", "train") as one:
        yield one


def test_every_recipe_has_a_row() -> None:
    assert sorted(ROWS) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_the_row_is_what_the_config_says(name: str, composer: Composer) -> None:
    config = checked(composer, [f"experiment={name}"])
    data, batch, iterations, _ = ROWS[name]
    assert int(iterations.replace(",", "")) == config["iterations"]
    sizes = config["model"].get("batch_sizes") if config["model"].get("growing") else None
    if sizes:
        first = (config["model"]["start_resolution"] // 4).bit_length() - 1
        assert batch == f"{sizes[first]} to {sizes[-1]}"
    else:
        assert int(batch.replace(",", "")) == config["data"]["batch_size"]
    resolution = config["data"]["resolution"]
    assert data.endswith(f", {resolution}") or (resolution == 32 and "," not in data)
