"""`mox report LOG_DIR...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mox_core import run_history
from mox_core.errors import LogDirError
from mox_core.name_lists import counted, number_of
from mox_report.page import page_of
from mox_report.reading import read_trainings

if TYPE_CHECKING:
    from mox_report.reading import Training


def main(arguments: list[str]) -> int:
    """Write the page of some trainings, and print its path.

    Raises:
        UsageError: if a folder is not there, or no training has logged anything in it.
        LogDirError: if a folder cannot be read, or the page not be written.
    """
    parser = argparse.ArgumentParser(
        prog="mox report",
        description="Write one HTML page about trainings, several side by side: curves, times, a confusion matrix, the "
        "worst samples, settings. It opens without a network.",
    )
    parser.add_argument("log_dirs", nargs="+", metavar="LOG_DIR", help="log_dir of a training; a folder or a URL")
    parser.add_argument("--output", default="report.html", help="the file to write (default: report.html)")
    options = parser.parse_args(arguments)
    trainings = read_trainings(options.log_dirs)
    for training in trainings:
        if training.unread:
            sys.stderr.write(f"mox report: {_unread(training)}\n")
    text = page_of(trainings)
    output = Path(options.output).expanduser()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LogDirError(f"{options.output!r} cannot be written: {error.strerror or error}.") from error
    sys.stdout.write(f"{output}\n")
    return 0


def _unread(training: Training) -> str:
    """Return the sentence on lines of a history that are left out."""
    lines = number_of(len(training.unread), "line")
    which = counted(map(str, training.unread), 5)
    return f"{run_history.FILE} of {training.folder!r}: {lines} cannot be read and will be left out: {which}."
