"""The command `mox tf1`."""

from __future__ import annotations

import argparse
import sys

from mox_core.errors import MoxError
from mox_core.whole_numbers import at_least_one


def main(arguments: list[str]) -> int:
    """Run or check a script, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="mox tf1",
        description="Run a script of TensorFlow 1 and MoXing as it is, on mox. Nothing is rewritten: the script and "
        "the modules in its folder see TensorFlow 1.15, moxing and the NumPy of those days, all others TensorFlow 2.",
        allow_abbrev=False,
    )
    parser.add_argument("--max_steps", type=at_least_one, metavar="N", help="no mox.run of the script makes more steps")
    parser.add_argument("--check", action="store_true", help="run nothing: say what will not work, by line")
    parser.add_argument("script", help="the script")
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the arguments of the script")
    rest.required = False  # it is named as missing otherwise, before Python 3.13
    options = parser.parse_args(arguments)
    from mox_tf1 import running  # noqa: PLC0415  (help needs none of it)

    try:
        path, source = running.read_script(options.script)
        if options.check:
            from mox_tf1.checking import Note, check_script  # noqa: PLC0415  (as above)

            findings = check_script(path, source)
            sys.stdout.write("".join(f"{finding}\n" for finding in findings))
            return 0 if all(isinstance(finding, Note) for finding in findings) else 1
        return running.run_script(path, source, [options.script, *options.arguments], options.max_steps)
    except MoxError as error:  # of the command; those of the script are shown with its line
        sys.stderr.write(f"mox tf1: error: {error}\n")
        return 2
