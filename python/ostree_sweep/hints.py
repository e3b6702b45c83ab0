"""What annotations are made of, without `typing`, which takes most of the time that Python takes to start.

Annotations are text until `typing.get_type_hints` evaluates them. `typing` and `aliases` are loaded then.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional as Optional
    from typing import Union as Union

    from .aliases import Date as Date
    from .aliases import Impact as Impact
    from .aliases import ItemCallback as ItemCallback
    from .aliases import JsonObject as JsonObject
    from .aliases import Phase as Phase
    from .aliases import ProgressCallback as ProgressCallback
    from .aliases import StrPath as StrPath
else:

    class _Form:
        """A name of `typing`'s that is looked up when it gets its parameters."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getitem__(self, parameters: object) -> object:
            import typing

            return getattr(typing, self._name)[parameters]

    def _alias(name: str) -> str:
        """An alias as the text that evaluates to it, wherever it stands."""
        return f"__import__('ostree_sweep.aliases', fromlist=['{name}']).{name}"

    Optional, Union = map(_Form, ("Optional", "Union"))
    Date, Impact, ItemCallback, JsonObject, Phase, ProgressCallback, StrPath = map(
        _alias, ("Date", "Impact", "ItemCallback", "JsonObject", "Phase", "ProgressCallback", "StrPath")
    )
