"""The public interface of the package, one line for each name, argument and field.

`PYTHONPATH=python:tests/python python tests/python/support/public_api.py` prints it.
"""

from __future__ import annotations

import inspect
import sys
import typing
from typing import Any

import ostree_sweep
from ostree_sweep import aio


def public_api() -> list[str]:
    """The lines, sorted."""
    lines = [line for name in ostree_sweep.__all__ for line in _of(name, getattr(ostree_sweep, name))]
    lines += [line for name in aio.__all__ for line in _of(f"aio.{name}", getattr(aio, name))]
    return sorted(lines)


def _of(name: str, value: Any) -> list[str]:
    if inspect.ismodule(value):
        return [f"{name} (module)"]
    if not inspect.isclass(value):
        return _of_callable(name, value) if inspect.isroutine(value) else [f"{name} {typing.get_args(value)}"]
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    lines = [f"{name} ({bases})" if bases else name]
    for kind in value.__mro__:
        if not kind.__module__.startswith("ostree_sweep."):
            continue
        for member in (*vars(kind).get("__annotations__", {}), *vars(kind)):
            own = getattr(value, member, None)
            if member.startswith("_"):
                continue
            lines += _of_callable(f"{name}.{member}", own) if inspect.isroutine(own) else [f"{name}.{member}"]
    return sorted(set(lines))


def _of_callable(name: str, call: Any) -> list[str]:
    lines = [f"{name}()"]
    for parameter in inspect.signature(call).parameters.values():
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        place = "keyword " if parameter.kind is parameter.KEYWORD_ONLY else ""
        lines.append(f"{name}({place}{parameter.name}{default})")
    return lines


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in public_api())
