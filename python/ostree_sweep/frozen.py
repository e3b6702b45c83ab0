"""What keeps results frozen in fact, and makes plain data of them."""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class FrozenDict(dict[_K, _V]):
    """A dictionary that can't be changed, but hashed, if its values can."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} can't be changed")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict[_K, _V]], tuple[dict[_K, _V]]]:
        # The default would fill an empty one by `__setitem__`.
        return type(self), (dict(self),)

    def copy(self) -> FrozenDict[_K, _V]:
        """The same dictionary, which nobody can change."""
        return self


def as_data(value: object) -> Any:  # noqa: ANN401 - any of JSON's types
    """A result of dataclasses as JSON has it: dictionaries, lists, texts, numbers, truth values and None."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_data(item) for item in value]
    return value
