"""The check of the names that `get(keys)` of a data set is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def check_names(keys: Sequence[str], *, owner: str) -> None:
    """Check that keys are a list of strings.

    Args:
        keys: the argument of `get`.
        owner: the class of the data set, for messages.

    Raises:
        UsageError: if they are not.
    """
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise UsageError(f"{owner}.get takes a list of names, like ['image', 'label'], not {keys!r}.")


def check_known(keys: Sequence[str], known: Collection[str], *, owner: str) -> None:
    """Check that all keys are names of features.

    Args:
        keys: the argument of `get`.
        known: the names of the features.
        owner: the class of the data set, for messages.

    Raises:
        UsageError: if one is not.
    """
    for key in keys:
        if key not in known:
            sentences = [
                f"unknown key {key!r}.",
                did_you_mean(nearest(key, known)),
                f"{owner} knows {', '.join(map(repr, known))}.",
            ]
            raise UsageError(" ".join(filter(None, sentences)))
