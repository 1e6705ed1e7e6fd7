"""A value class behaves as a frozen, keyword-only dataclass with slots does, beside one."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab.value_class import value_class


@value_class
class Ours:
    name: str
    ports: tuple[int, ...] = (80,)
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Theirs:
    name: str
    ports: tuple[int, ...] = (80,)
    tags: list[str] = field(default_factory=list)


@value_class
class More(Ours):
    """With a field of its own, and one that follows from others."""

    weight: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", self.weight * 2)


BOTH = pytest.mark.parametrize("kind", [Ours, Theirs])


@BOTH
def test_defaults_are_filled_in_and_not_shared(kind: Any) -> None:
    one, other = kind(name="h1"), kind(name="h1", ports=(80,))
    one.tags.append("x")
    assert (one.ports, other.tags) == ((80,), [])
    assert repr(other) == f"{kind.__name__}(name='h1', ports=(80,), tags=[])"


@BOTH
@pytest.mark.parametrize("given", [{}, {"name": "h1", "colour": 1}])
def test_what_is_missing_or_unknown_is_a_type_error(kind: Any, given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        kind(**given)
    with pytest.raises(TypeError):
        kind("h1")


@BOTH
def test_equal_by_fields_and_kind(kind: Any) -> None:
    assert kind(name="h1") == kind(name="h1")
    assert kind(name="h1") != kind(name="h2")
    assert Ours(name="h1") != Theirs(name="h1")
    assert Ours(name="h1") != More(name="h1")


@BOTH
def test_never_changed(kind: Any) -> None:
    made = kind(name="h1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "h2"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made.name
    with pytest.raises((AttributeError, TypeError)):
        made.colour = 1
    assert not hasattr(made, "__dict__")


@BOTH
def test_hashed_by_fields(kind: Any) -> None:
    assert hash(kind(name="h1", tags=())) == hash(kind(name="h1", tags=()))
    with pytest.raises(TypeError):
        hash(kind(name="h1"))


@BOTH
def test_replaced_copied_pickled_and_taken_apart(kind: Any) -> None:
    made = kind(name="h1", tags=["x"])
    assert dataclasses.replace(made, name="h2") == kind(name="h2", tags=["x"])
    assert dataclasses.asdict(made) == {"name": "h1", "ports": (80,), "tags": ["x"]}
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made


def test_inherits_fields_and_ends_its_own_making() -> None:
    assert (More(name="h1", weight=3).weight, More(name="h1").ports) == (6, (80,))
