"""The lines of the user's code, among those of mox, TensorFlow and Keras."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import traceback
    from collections.abc import Iterable

_NOT_THE_USERS: Final = (
    *(str(Path(sysconfig.get_path(name))) for name in ("purelib", "platlib", "stdlib")),
    str(Path(__file__).parent),
)


def user_line(frames: Iterable[traceback.FrameSummary]) -> str:
    """Return the innermost line of the user's code among frames, outermost first: 'train.py:12'.

    Returns:
        'model_fn' where there is none.
    """
    own = [frame for frame in frames if is_users(frame.filename)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "model_fn"


def is_users(filename: str) -> bool:
    """Return whether a file is of the user's code."""
    return not filename.startswith((*_NOT_THE_USERS, "<"))
