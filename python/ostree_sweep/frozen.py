"""What keeps results frozen in fact, and makes plain data of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class FrozenDict(dict[_K, _V]):
    """A dictionary that can't be changed, but hashed, if its values can."""

    # Type checkers see a Mapping, wherever there is one.
    if not TYPE_CHECKING:

        def _refuse(self, *_: object, **__: object) -> NoReturn:
            raise TypeError("the fields of a result can't be changed")

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


class Data:
    """What results have in common, which are frozen dataclasses."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them: dictionaries, lists, texts, numbers, truth values and None."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


def _plain(value: object) -> Any:  # noqa: ANN401 - any of JSON's types
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
