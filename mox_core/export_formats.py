"""What `export_model` of `mox.run` asks for: formats, and the folder of log_dir in which each has its versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from mox_core import catalog
from mox_core.errors import UsageError
from mox_core.plugins.offers import ExporterOffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SERVED: Final = "TF_SERVING"
"""The format whose versions lie in log_dir itself, the base path of a model in TensorFlow Serving."""


@frozen(kw_only=True)
class ExportFormat:
    """A format of exported models.

    Attributes:
        name: the name under which a plugin offers it, or that of a user's function.
        folder: the folder in log_dir that has its versions; '' for log_dir itself.
        find: returns the exporter, a function `(model, directory)`; it may import TensorFlow.
    """

    name: str
    folder: str
    find: Callable[[], Callable[..., None]] = field(repr=False, eq=False)

    def base(self, log_dir: Path) -> Path:
        """Return the folder of its versions."""
        return log_dir / self.folder


def export_formats(export_model: object) -> Sequence[ExportFormat]:
    """Return the formats that the argument `export_model` asks for, none for None and False.

    Raises:
        UsageError: if it is of another form, or two formats would have the same folder.
        UnknownNameError: if no plugin, or more than one, offers a name.
    """
    if export_model is None or export_model is False:
        return ()
    if isinstance(export_model, (list, tuple)):
        if not export_model:
            raise UsageError("export_model is an empty list; leave it out to export nothing.")
        formats = [_format(each, f"export_model[{number}]") for number, each in enumerate(export_model)]
    else:
        formats = [_format(export_model, "export_model")]
    _check_folders(formats)
    return tuple(formats)


def taken_by_a_format(version: int | str) -> str | None:
    """Return the format that has a folder in log_dir which is called like a version, None where there is none."""
    if str(version).lstrip("-").isdecimal():
        return None  # no format is called by a number, and plugins are not asked
    folders = {name.lower(): name for name in catalog.ExportKeys if name != _SERVED}
    return folders.get(str(version).lower())


def _format(value: Any, argument: str) -> ExportFormat:
    if isinstance(value, str):
        name = catalog.offered_name(ExporterOffer, value)
        folder = "" if name == _SERVED else name.lower()
        return ExportFormat(name=name, folder=folder, find=lambda: catalog.find_target(ExporterOffer, value))
    if callable(value):
        return ExportFormat(name=getattr(value, "__name__", type(value).__name__), folder="", find=lambda: value)
    raise UsageError(
        f"{argument} is {value!r}; it must be a name of mox.ExportKeys, such as mox.ExportKeys.TF_SERVING, "
        "or a function (model, directory). export_model may be a list of them."
    )


def _check_folders(formats: Sequence[ExportFormat]) -> None:
    """Refuse two formats in one row of versions: of TF_SERVING and a function, a server would take the higher one."""
    first: dict[str, ExportFormat] = {}
    for each in formats:
        other = first.setdefault(each.folder, each)
        if other is each:
            continue
        if other.name == each.name:
            raise UsageError(f"export_model has {each.name} twice: leave one of them out.")
        raise UsageError(
            f"export_model has {other.name} and {each.name}, whose versions would be numbered in the same folder, "
            f"{each.folder or 'log_dir itself'}. A function goes there as TF_SERVING does, as it has no name: let a "
            "plugin offer it, which gives it one, or export it in a run with another log_dir."
        )
