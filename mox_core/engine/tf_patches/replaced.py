"""Attributes that are replaced for a block."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Set attributes for the block; after it they are the same objects as before, or absent again.

    Args:
        *changes: (module or class, name of the attribute, value for the block).
    """
    with contextlib.ExitStack() as stack:
        for owner, name, value in changes:
            if name in vars(owner):
                stack.callback(setattr, owner, name, vars(owner)[name])
            else:  # it is inherited, or there is none
                stack.callback(delattr, owner, name)
            setattr(owner, name, value)
        yield
