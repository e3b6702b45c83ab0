"""Frozen dataclasses, without the module `dataclasses`: that takes longer to load than Python takes to start.

`dataclasses.fields`, `asdict`, `replace` and `inspect.signature` take them for its own: when one of
them asks, that module makes a twin of the class, whose fields and signature are shown.
"""

from __future__ import annotations

from .hints import TYPE_CHECKING, JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as dataclass
    from typing import Any, NoReturn, TypeVar

    _K = TypeVar("_K")
    _V = TypeVar("_V")
    _T = TypeVar("_T")
    _Dict = dict[_K, _V]
else:

    def dataclass(*, frozen: bool) -> Callable[[type], type]:  # noqa: ARG001 - there is no other kind
        """Makes a class a frozen dataclass, as `dataclasses.dataclass` does."""

        def make(of: type) -> type:
            inherited = getattr(of, "__match_args__", ())
            own = (name for name in of.__annotations__ if name not in inherited)
            of.__match_args__ = (*inherited, *own)
            for name, method in vars(_Frozen).items():
                # What `object` has, too.
                if getattr(method, "__module__", None) == __name__:
                    setattr(of, name, method)
            for name in _LATER:
                setattr(of, name, _Later(of, name))
            return of

        return make

    class _Frozen:
        """The methods of frozen dataclasses. The names of the fields are in `__match_args__`."""

        def __init__(self, *values: object, **named: object) -> None:
            names = self.__match_args__
            given = dict(zip(names, values))
            if len(values) > len(names) or not given.keys().isdisjoint(named):
                raise _misfit(self, values, named)
            given.update(named)
            for name in names:
                if name not in given and hasattr(type(self), name):
                    given[name] = getattr(type(self), name)
            if given.keys() != set(names):
                raise _misfit(self, values, named)
            self.__dict__.update(given)
            check = getattr(self, "__post_init__", None)
            if check is not None:
                check()

        def __repr__(self) -> str:
            fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
            return f"{type(self).__qualname__}({fields})"

        def __eq__(self, other: object) -> bool:
            if type(other) is not type(self):
                return NotImplemented
            return _values(self) == _values(other)

        def __hash__(self) -> int:
            return hash(_values(self))

        def __setattr__(self, name: str, _value: object) -> None:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot assign to field {name!r}")

        def __delattr__(self, name: str) -> None:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot delete field {name!r}")

        def __replace__(self, **changes: object) -> object:
            return replace(self, **changes)

    class _Later:
        """An attribute of a class that is its twin's."""

        def __init__(self, of: type, name: str) -> None:
            self._of, self._name = of, name

        def __get__(self, _instance: object, owner: type) -> object:
            if self._name == "__signature__":
                # A class that inherits from it may be made otherwise.
                if owner is not self._of:
                    raise AttributeError(self._name)
                import inspect

                return inspect.signature(self._twin())
            found = getattr(self._twin(), self._name)
            setattr(self._of, self._name, found)
            return found

        def _twin(self) -> type:
            import dataclasses

            hidden = {"__dict__", "__weakref__", *vars(_Frozen), *_LATER} - {"__module__", "__doc__"}
            members = {name: value for name, value in vars(self._of).items() if name not in hidden}
            return dataclasses.dataclass(frozen=True)(type(self._of.__name__, self._of.__bases__, members))

    _LATER = ("__dataclass_fields__", "__dataclass_params__", "__signature__")

    def _values(of: object) -> tuple[object, ...]:
        return tuple([getattr(of, name) for name in of.__match_args__])

    def _misfit(of: object, values: tuple[object, ...], named: dict[str, object]) -> TypeError:
        """What the twin says of arguments that don't fit."""
        import inspect

        try:
            inspect.signature(type(of)).bind(*values, **named)
        except TypeError as error:
            return TypeError(f"{type(of).__name__}: {error}")
        return TypeError(f"{type(of).__name__}: wrong arguments")

    class _Dict(dict):
        """A dictionary that can't be changed."""

        def _refuse(self, *_: object, **__: object) -> NoReturn:
            raise TypeError("the fields of a result can't be changed")

        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

        def __class_getitem__(cls, _parameters: object) -> type:
            return cls

    _K = _V = None


class FrozenDict(_Dict[_K, _V]):
    """A dictionary that can't be changed, but hashed, if its values can. Type checkers see a Mapping."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict[_K, _V]], tuple[dict[_K, _V]]]:
        # The default would fill an empty one by `__setitem__`.
        return type(self), (dict(self),)

    def copy(self) -> FrozenDict[_K, _V]:
        """The same dictionary, which nobody can change."""
        return self


def replace(of: _T, **changes: Any) -> _T:  # noqa: ANN401 - fields have all types
    """The same with other values for some fields, as `dataclasses.replace` makes it."""
    return type(of)(**{**vars(of), **changes})


def to_dict(value: object) -> JsonObject:
    """A result's fields as JSON has them."""
    return {name: _plain(getattr(value, name)) for name in _names(value)}


class Data:
    """What results have in common, which are frozen dataclasses."""

    def to_dict(self) -> JsonObject:
        """The fields as JSON has them: dictionaries, lists, texts, numbers, truth values and None."""
        return to_dict(self)


def _names(value: object) -> tuple[str, ...]:
    """The names of a dataclass's fields; none of anything else's."""
    return getattr(type(value), "__match_args__", ())


def _plain(value: object) -> Any:  # noqa: ANN401 - any of JSON's types
    if _names(value):
        return to_dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
