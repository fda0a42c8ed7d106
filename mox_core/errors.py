"""The errors of mox: each says what was given, what is allowed, and what to do."""

from __future__ import annotations


class MoxError(Exception):
    """Base of every error that mox raises on purpose."""


class UsageError(MoxError, ValueError):
    """An argument, a flag or a function of the user's that mox cannot work with."""


class UnknownNameError(MoxError, LookupError):
    """A name that no installed plugin offers, or that more than one offers."""


class UnknownAttributeError(AttributeError, UnknownNameError):
    """A name after a dot (`mox.X`, `mox.NetworkKeys.X`) that nothing offers; `hasattr` answers False to it."""


class PluginError(MoxError):
    """A plugin that cannot be used."""


class DataError(MoxError, ValueError):
    """Input data that is missing or not what it was declared to be."""


class CheckpointError(MoxError):
    """A checkpoint that is missing, damaged, or of another model."""


class NanLossError(MoxError, ArithmeticError):
    """A loss that is not finite any more."""


class ClusterError(MoxError):
    """Another process of a distributed job that is missing, or not the one that it should be."""
