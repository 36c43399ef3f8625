"""What a config describes is made; what it names and this code has not is said in one line."""

import traceback
from fractions import Fraction

import pytest
from hydra.errors import InstantiationException

from saddle.config.instantiate import instantiate, locate
from saddle.errors import InputError

HALF = {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}


def refuse() -> None:
    raise InputError("wrong input")


def test_facts_are_not_arguments() -> None:
    assert instantiate({**HALF, "facts": {"a": 1}}) == Fraction(1, 2)


@pytest.mark.parametrize("name", ["saddle.losses_that_moved.Hinge", "saddle.config.check.Moved", "no_package.Class"])
def test_a_target_that_has_moved_is_named_in_one_line(name: str) -> None:
    for node in ({"_target_": name}, {**HALF, "numerator": {"_target_": name}}):
        with pytest.raises(InputError) as error:
            instantiate(node)
        assert str(error.value).startswith(name) and "another version of the code" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=name):
        locate(name)


def test_a_users_mistake_is_left_as_it_is_and_a_fault_is_not_hidden() -> None:
    with pytest.raises(InputError, match="^wrong input$"):
        instantiate({"_target_": f"{__name__}.refuse"})
    with pytest.raises(InstantiationException) as error:
        instantiate({**HALF, "denominator": 0})
    assert "ZeroDivisionError" in "".join(traceback.format_exception(error.value))
