"""The end of what a signal cuts short, where nothing is lost by it."""

from __future__ import annotations


class RunInterrupted(BaseException):
    """A signal has asked the process to end, in the middle of what need not be finished: a start, a validation."""
