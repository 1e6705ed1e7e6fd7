"""`@value_class`: `@dataclass(frozen=True, kw_only=True, slots=True)`, made in a tenth of the time.

dataclass writes up to seven methods per class as text and compiles them: one to three milliseconds each time a class is
made, in every process of every run, and a start makes a hundred. Here all classes share one of each. What is left to
dataclass: fields, defaults, slots, `__post_init__`, and that `fields`, `replace` and `asdict` work. Making an object
takes some 2 µs more, so not for what is made per packet. Rule: a type checker sees a dataclass.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:
        return lambda made: made


T = TypeVar("T")
_set = object.__setattr__


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[T]) -> type[T]:
    """The class as a value: made by keywords, compared by its fields, never changed."""
    cls.__doc__ = cls.__doc__ or cls.__name__  # dataclass would find out the signature for one
    made = dataclass(init=False, repr=False, eq=False, kw_only=True, slots=True)(cls)
    for method in (__init__, __repr__, __eq__, __hash__, __setattr__, __delattr__, __getstate__, __setstate__):
        if method.__name__ not in cls.__dict__:
            setattr(made, method.__name__, method)
    return made


def __init__(self: Any, **given: Any) -> None:
    for name, known in self.__dataclass_fields__.items():
        if name in given:
            _set(self, name, given.pop(name))
        elif known.default is not MISSING:
            _set(self, name, known.default)
        elif known.default_factory is not MISSING:
            _set(self, name, known.default_factory())
        else:
            raise TypeError(f"{type(self).__name__}: {name!r} is missing")
    if given:
        raise TypeError(f"{type(self).__name__} has no {', '.join(map(repr, given))}")
    if post := getattr(self, "__post_init__", None):
        post()


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def __repr__(self: Any) -> str:
    shown = (f"{known.name}={getattr(self, known.name)!r}" for known in fields(self) if known.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def __eq__(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def __hash__(self: Any) -> int:
    return hash(_values(self))


def __setattr__(self: Any, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def __delattr__(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def __getstate__(self: Any) -> tuple[Any, ...]:
    return _values(self)


def __setstate__(self: Any, state: tuple[Any, ...]) -> None:
    for name, was in zip(self.__dataclass_fields__, state):
        _set(self, name, was)
