"""Files that are written whole or not at all, also where several processes write them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def whole_file(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """Write a file under a temporary name, and give it its own when the block ends without an error.

    The folder of the file is made where it does not exist.

    Args:
        path: the file.
        suffix: the end of the temporary name.

    Yields:
        A hidden file beside it, to be written by the block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
