"""Settings of MoXing's copies that scripts change: taken, and of no effect, as copies here need none of them."""

from __future__ import annotations

NUMBER_OF_PROCESSES: int | None = None
_NUMBER_OF_PROCESSES: int | None = None
_LARGE_FILE_METHOD: int | None = None
_LARGE_FILE_TASK_NUM: int | None = None
