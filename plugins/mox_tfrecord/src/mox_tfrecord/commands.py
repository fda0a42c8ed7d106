"""The command `mox tfrecord`, which writes and inspects records. Its help does not import TensorFlow."""

# ruff: noqa: PLC0415  (each command imports what it needs when it is called)

from __future__ import annotations

import argparse
import os
import sys

from mox_core.errors import DataError
from mox_core.whole_numbers import at_least_one


def main(arguments: list[str]) -> int:
    """Run `mox tfrecord ...` and returns the exit status: 1 if an inspected file is damaged or its set is not whole."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported: errors only
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mox tfrecord", description="Write and inspect TFRecord files.")
    commands = parser.add_subparsers(required=True, metavar="{write,inspect}")
    _add_write(commands.add_parser("write", help="turn a folder of images into sharded TFRecords"))
    _add_inspect(commands.add_parser("inspect", help="print what records hold, and whether they are damaged"))
    return parser


def _add_write(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turn a folder of images, SRC/<class>/<image>, into DST/train-00000-of-00008.tfrecord and so on, with a "
        "labels.txt. JPEGs and PNGs keep their bytes. The files appear when all are complete."
    )
    parser.add_argument("src", metavar="SRC", help="folder with a folder for each class")
    parser.add_argument("dst", metavar="DST", help="folder for the records")
    parser.add_argument(
        "--shards", type=at_least_one, metavar="N", help="number of files (default: so that each has 128 MiB)"
    )
    parser.add_argument("--name", default="train", help="beginning of the files' names (default: train)")
    parser.add_argument("--overwrite", action="store_true", help="replace records of that name")
    parser.add_argument(
        "--skip_bad", "--skip-bad", action="store_true", help="leave out files that are no images or cut off"
    )
    parser.add_argument(
        "--max_side",
        "--max-side",
        type=at_least_one,
        metavar="N",
        help="shrink images with a longer side to N pixels (default: none)",
    )
    parser.set_defaults(run=_write)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the number of records, their features, and where a file is cut off or damaged: by the headers of all "
        "records and the content of up to 100. The exit status is 1 if a file is damaged, or its set lacks "
        "shards."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file of records, compressed or not")
    parser.add_argument("--record", type=int, metavar="N", help="show record N of each file, counted from 0")
    parser.set_defaults(run=_inspect)


def _write(options: argparse.Namespace) -> int:
    from mox_tfrecord.writing import write_image_classification_tfrecords

    try:
        written = write_image_classification_tfrecords(
            options.src,
            options.dst,
            name=options.name,
            num_shards=options.shards,
            overwrite=options.overwrite,
            on_bad_image="skip" if options.skip_bad else "raise",
            max_side=options.max_side,
        )
    except OSError as error:  # no permission, no space
        raise DataError(f"cannot turn {options.src!r} into records: {error}.") from error
    sys.stdout.write(f"{written}\n")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from mox_tfrecord.inspecting import inspect_file
    from mox_tfrecord.shards import missing_shards, sets_of

    reports = []
    for file in options.files:
        report = inspect_file(file, record=options.record)
        sys.stdout.write(f"{report.text}\n")
        reports.append(report)
    if len(reports) > 1:
        sys.stdout.write(f"{sum(report.num_records for report in reports)} records in {len(reports)} files\n")
    missing = list(filter(None, map(missing_shards, sets_of(options.files))))
    sys.stdout.writelines(f"MISSING: {each}\n" for each in missing)
    return 1 if missing or any(report.is_damaged for report in reports) else 0
