"""What a config describes is made if it is of the kind that is asked for; anything else is said in one line."""

from __future__ import annotations

import traceback
from fractions import Fraction
from numbers import Number
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from saddle.config.instantiate import instantiate, kinds_of, locate
from saddle.errors import InputError

HALF = {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}


class Part:
    """Something that is part of something."""


class Wheel(Part):
    def __init__(self, spokes: int = 3):
        if spokes < 1:
            raise InputError("wrong input")


class Car:
    def __init__(self, wheels: list[Part] | None = None, spare: Part | str = "", driver: Any = None, **more: Any):
        self.wheels, self.spare = wheels, spare


class Bus(Car):
    def __init__(self, seats: int = 0, **more: Any):
        super().__init__(**more)


def target(name: str, /, **options: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{name}", **options}


def test_facts_are_not_arguments() -> None:
    assert instantiate({**HALF, "facts": {"a": 1}}, Number) == Fraction(1, 2)


@pytest.mark.parametrize("name", ["saddle.losses_that_moved.Hinge", "saddle.config.check.Moved", "no_package.Class"])
def test_a_target_that_has_moved_is_named_in_one_line(name: str) -> None:
    for node in ({"_target_": name}, target("Car", spare={"_target_": name})):
        with pytest.raises(InputError) as error:
            instantiate(node, object)
        assert str(error.value).startswith(name) and "another version of the code" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=name):
        locate(name, object)


def test_a_users_mistake_is_left_as_it_is_and_a_fault_is_not_hidden() -> None:
    with pytest.raises(InputError, match="^wrong input$"):
        instantiate(target("Wheel", spokes=0), Part)
    with pytest.raises(InstantiationException) as error:
        instantiate({**HALF, "denominator": 0}, Number)
    assert "ZeroDivisionError" in "".join(traceback.format_exception(error.value))


def test_objects_inside_are_of_the_kinds_that_constructors_say() -> None:
    wheel = target("Wheel")
    car = instantiate(target("Bus", seats=9, wheels=[wheel, wheel], spare=wheel), Car)
    assert [type(each) for each in (*car.wheels, car.spare)] == [Wheel] * 3
    assert instantiate(OmegaConf.create(target("Car", _partial_=True)), Car)().wheels is None
    assert kinds_of(Bus, "wheels") == [Part] and kinds_of(Bus, "seats") == kinds_of(Bus, "driver") == []


WHEEL = target("Wheel")
OPEN = {"_target_": "builtins.open", "file": "marker", "mode": "w"}  # what a test would find


@pytest.mark.parametrize(
    "node",
    [
        WHEEL,
        target("target", name="x"),  # a function
        target("Path", a="x"),  # a class of another package, which the module only imports
        target("Car.__init__"),
        target("Fraction.__class__"),
        {"_target_": ".Car"},
        {"_target_": "Car"},
        {"_target_": None},
        {"_target_": ["a"]},
        OPEN,
        target("Car", spare=OPEN),
        target("Car", wheels=[WHEEL, OPEN]),
        target("Car", wheels=[[{"deeper": OPEN}]]),
        target("Car", spare=target("Wheel", spokes=OPEN)),
        target("Car", spare={**OPEN, "_partial_": True}),
        target("Car", driver=WHEEL),  # of no kind
        target("Car", anything=WHEEL),
        target("Car", _args_=[[OPEN]]),
        target("Car", _args_=[[WHEEL]]),
        target("Car", spare=target("Car")),  # of another kind
    ],
)
def test_nothing_else_is_called(node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        instantiate(node, Car)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
