"""The errors of mox. The text of each one states the given value, the allowed values and a way out."""

from __future__ import annotations


class MoxError(Exception):
    """The base class of mox's errors."""


class UsageError(MoxError, ValueError):
    """An argument, a flag, or the result of a user's function is not allowed."""


class UnknownNameError(MoxError, LookupError):
    """No installed plugin offers a name, or more than one does."""


class UnknownAttributeError(AttributeError, UnknownNameError):
    """No installed plugin offers an attribute (`mox.X`, `mox.NetworkKeys.X`), or more than one; `hasattr` is False."""


class PluginError(MoxError):
    """A plugin is broken, or one of its offers cannot be imported."""


class DataError(MoxError, ValueError):
    """Input data is missing, damaged, or different from what was declared."""


class LogDirError(MoxError, OSError):
    """The folder of a run is in use by another run, cannot be read or written, or has gone."""


class CheckpointError(MoxError):
    """A checkpoint is missing, damaged, or of another model."""


class NanLossError(MoxError, ArithmeticError):
    """A loss or a weight is NaN or infinite."""


class ClusterError(MoxError):
    """Another process of a distributed job is missing, or has another role than expected."""
