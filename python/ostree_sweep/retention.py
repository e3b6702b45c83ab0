"""What a prune keeps: rules for single refs, as options or a policy file give them.

A policy file is TOML. It names each ref as `ostree refs` prints it, a mirrored one as `(COLLECTION, REF)`, or
several by a pattern:

    [default]                       # for refs that no rule matches; without it these are an error
    keep-last = 5                   # this many commits, the newest one included

    [refs."exampleos/stable"]
    protect = true                  # the whole history

    [refs."exampleos/devel"]
    depth = 0                       # this many parents of the newest commit; -1: all
    keep-younger-than = "2 weeks ago"   # also those younger than this, up to the first that is older

    [refs."exampleos/test/**"]
    keep-last = 1
    optional = true                 # there may be no such ref; otherwise that is an error

`*` matches any text within one part of a name, so neither `/` nor `:`; `**` matches any text, and `**/` also
nothing. The ref's own name comes first, then the pattern with most text besides wildcards, then the one with
fewer `**`. Two of them that are alike in this, and keep different amounts of the same ref, are an error.
A ref that is a symlink to another is one branch with it: what rules say of the one holds for both.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial

from . import checks, given
from .cancellation import Cancellable
from .frozen import FrozenDict, dataclass
from .hints import TYPE_CHECKING, Date, Optional, StrPath

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, TypedDict

    from typing_extensions import Unpack

    from ._core import _Retention

_MAX_BYTES = 1 << 20

ALL = -1
"""The depth that keeps a whole history."""

if TYPE_CHECKING:
    _Kept = tuple[int, Optional[int]]
else:
    _Kept = "tuple[int, Optional[int]]"


@dataclass(frozen=True)
class Keep:
    """How much of a ref's history to keep; its newest commit is kept in any case.

    Attributes:
        depth: this many generations of parents; -1: all.
        younger_than: also all parents made at or after this time, up to the first that is older.
        optional: in a policy's rule for refs: there may be none. Otherwise that is an error.
    """

    depth: int = ALL
    younger_than: Optional[Date] = None
    optional: bool = False

    def __post_init__(self) -> None:
        checks.depth("depth", self.depth)
        checks.optional_date("younger_than", self.younger_than)
        checks.flag("optional", self.optional)
        if self.younger_than is not None:
            seconds(self.younger_than)

    def as_tuple(self) -> _Kept:
        """The form that the core takes: `(depth, seconds since 1970)`.

        Raises:
            ValueError: the date can't be parsed, or lies before 1970 or in the future.
        """
        return (self.depth, None if self.younger_than is None else seconds(self.younger_than))


@dataclass(frozen=True)
class Policy:
    """Rules for refs.

    Attributes:
        refs: by a ref's name, or by a pattern.
        default: for refs that no rule matches; None: that is an error.
    """

    refs: Mapping[str, Keep]
    default: Optional[Keep] = None

    def __post_init__(self) -> None:
        checks.by_ref("refs", self.refs, partial(checks.instance, kind=Keep))
        if self.default is not None:
            checks.instance("default", self.default, Keep)
        object.__setattr__(self, "refs", FrozenDict(self.refs))

    def as_tuple(
        self,
    ) -> tuple[list[tuple[str, _Kept, bool]], Optional[_Kept]]:
        """The form that the core takes: `(pattern, keep, optional)` for each rule, and the default.

        Raises:
            ValueError: as for `Keep.as_tuple`.
        """
        rules = [(pattern, keep.as_tuple(), keep.optional) for pattern, keep in self.refs.items()]
        return rules, None if self.default is None else self.default.as_tuple()

    @classmethod
    def load(cls, path: StrPath, *, cancellable: Optional[Cancellable] = None) -> Policy:
        """Reads a policy file, or a pipe until its end.

        Args:
            path: the file, of 1 MiB at most.
            cancellable: asked every 50 ms while a pipe has nothing.

        Raises:
            OSError: it can't be read, or is neither a regular file nor a pipe.
            ValueError: it is too large, no TOML, or says something that policies don't.
            OperationCancelled: the cancellable said so.
        """
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]
        name = os.fspath(path)
        content = given.read(name, _MAX_BYTES, cancellable)
        try:
            return cls._parse(tomllib.loads(content.decode()))
        except RecursionError:
            raise ValueError(f"{name}: nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    @classmethod
    def _parse(cls, data: dict[str, Any]) -> Policy:
        default, refs = data.pop("default", None), data.pop("refs", {})
        if data:
            raise ValueError(f"unknown entry '{next(iter(data))}'")
        if not isinstance(refs, dict) or (default is None and not refs):
            raise ValueError('a policy needs [default] or [refs."NAME"]')
        return cls(
            refs={name: _rule(f"refs.{name}", rule) for name, rule in refs.items()},
            default=None if default is None else _rule("default", default),
        )


def _rule(where: str, data: Any) -> Keep:  # noqa: ANN401 - TOML can be anything
    if not isinstance(data, dict):
        raise ValueError(f"'{where}' is no table")
    rest = dict(data)
    protect, depth, last = rest.pop("protect", None), rest.pop("depth", None), rest.pop("keep-last", None)
    younger, optional = rest.pop("keep-younger-than", None), rest.pop("optional", False)
    if rest or (optional is not False and where == "default"):
        raise ValueError(f"unknown entry '{next(iter(rest or ['optional']))}' in '{where}'")
    if type(optional) is not bool:
        raise ValueError(f"'optional' in '{where}' must be true or false")
    if not data.keys() - {"optional"}:
        raise ValueError(f"'{where}' says nothing")
    for name, value, least in (("depth", depth, ALL), ("keep-last", last, 1)):
        if value is not None and (type(value) is not int or value < least):
            raise ValueError(f"'{name}' in '{where}' must be a number of at least {least}")
    if protect not in (None, True) or sum(value is not None for value in (protect, depth, last)) > 1:
        raise ValueError(f"'{where}' may have one of 'protect = true', 'depth' and 'keep-last'")
    if protect is not None and younger is not None:
        raise ValueError(f"'{where}' protects all, so 'keep-younger-than' makes no sense there")
    if younger is not None:
        # Slow to import.
        from datetime import datetime

        if not isinstance(younger, (str, datetime)):
            raise ValueError(
                f"'keep-younger-than' in '{where}' must be a date such as \"2 weeks ago\", not {younger}"
            )
        seconds(younger)
    if protect:
        return Keep(optional=optional)
    if last is not None:
        return Keep(last - 1, younger, optional)
    return Keep(0 if depth is None else depth, younger, optional)


def seconds(date: Date) -> int:
    """A date as seconds since 1970.

    Raises:
        ValueError: it can't be parsed, or lies before 1970 or in the future.
    """
    from . import core

    if isinstance(date, str):
        return core.parse_date(date)
    value = date if isinstance(date, (int, float)) else date.timestamp()
    if not 0 <= value < 2**63:
        raise ValueError(f"Could not parse '{date}'")
    return core.parse_date(int(value))


if TYPE_CHECKING:

    class RetentionOptions(TypedDict, total=False):
        """What to keep, as `prune` takes it."""

        refs_only: bool
        depth: int
        commit_only: bool
        keep_younger_than: Optional[Date]
        retain_branch_depth: Mapping[str, int]
        only_branches: Collection[str]
        exclude_refs: Collection[str]
        protect_commits: Collection[str]
        keep_unreferenced_younger_than: Optional[Date]
        policy: Optional[Policy]
        strict: bool
        ignore_missing_commits: bool


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "refs_only": checks.flag,
    "commit_only": checks.flag,
    "strict": checks.flag,
    "ignore_missing_commits": checks.flag,
    "depth": checks.depth,
    "retain_branch_depth": partial(checks.by_ref, check=checks.depth),
    "only_branches": checks.texts,
    "exclude_refs": checks.texts,
    "protect_commits": checks.texts,
    "keep_younger_than": checks.optional_date,
    "keep_unreferenced_younger_than": checks.optional_date,
}


def core_retention(**options: Unpack[RetentionOptions]) -> _Retention:
    """What to keep in the form that the core takes.

    Raises:
        TypeError: an option's value is of the wrong type.
        ValueError: it makes no sense, or the options contradict each other.
    """
    for name, value in options.items():
        if name in _CHECKS:
            _CHECKS[name](name, value)
    if options.get("policy") is not None:
        checks.instance("policy", options["policy"], Policy)
    depth, policy = options.get("depth", ALL), options.get("policy")
    younger, unreferenced = options.get("keep_younger_than"), options.get("keep_unreferenced_younger_than")
    depths, only = options.get("retain_branch_depth", {}), options.get("only_branches", ())
    if policy is not None and (depth != ALL or younger is not None or depths or only):
        raise ValueError("a policy can't be combined with depths, dates or branches given as options")
    return {
        "refs_only": options.get("refs_only", False),
        "depth": depth,
        "commit_only": options.get("commit_only", False),
        "keep_younger_than": None if younger is None else seconds(younger),
        "retain_branch_depth": list(depths.items()),
        "only_branches": list(only),
        "exclude_refs": list(options.get("exclude_refs", ())),
        "strict": options.get("strict", True),
        "policy": None if policy is None else policy.as_tuple(),
        "ignore_missing_commits": options.get("ignore_missing_commits", False),
        "protected": list(options.get("protect_commits", ())),
        "unreferenced_since": None if unreferenced is None else seconds(unreferenced),
    }
