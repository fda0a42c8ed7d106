"""`mox report LOG_DIR...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mox_core.errors import LogDirError
from mox_report.page import page_of
from mox_report.reading import read_trainings


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
    text = page_of(read_trainings(options.log_dirs))
    output = Path(options.output).expanduser()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LogDirError(f"{options.output!r} cannot be written: {error.strerror or error}.") from error
    sys.stdout.write(f"{output}\n")
    return 0
