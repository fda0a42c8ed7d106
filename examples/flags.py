"""Flags of a script beside those of mox: with TensorFlow's flags (absl), and with argparse.

    python examples/flags.py --data_url=flowers --image_sizes=224,192 --num_gpus=1 --max_to_keep=3
    python examples/flags.py --data_url=
    python examples/flags.py --argparse --data_url=flowers --num_gpus=1

mox reads its own flags from the command line by itself: the script defines only what is its own. Import mox before
anything reads a flag, so that absl knows mox's names too.
"""

from __future__ import annotations

import argparse
import sys

import mox_core as mox

DEFAULT_DATA = "my_images"


def absl_flags(argv: list[str]) -> tuple[str, list[int]]:
    """The form of the manual: `tf.flags` of TensorFlow 1 is `tf.compat.v1.flags`, which is absl."""
    from absl import flags  # the same object as tf.compat.v1.flags, without waiting for TensorFlow

    flags.DEFINE_string("data_url", DEFAULT_DATA, "folder of the images")
    flags.DEFINE_list("image_sizes", ["224"], "sizes, separated by commas")  # TF 1.4 had no lists
    flags.FLAGS(argv)  # what absl.app.run and tf.compat.v1.app.run do
    return flags.FLAGS.data_url, [int(size) for size in flags.FLAGS.image_sizes]


def argparse_flags(argv: list[str]) -> tuple[str, list[int]]:
    """With argparse: `parse_known_args` leaves the flags of mox, and others, alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_url", default=DEFAULT_DATA)
    parser.add_argument("--image_sizes", type=lambda text: [int(size) for size in text.split(",")], default=[224])
    known, _ = parser.parse_known_args(argv[1:])
    return known.data_url, known.image_sizes


def main(argv: list[str]) -> None:
    """Print what the command line says."""
    with_argparse = "--argparse" in argv
    argv = [argument for argument in argv if argument != "--argparse"]
    data_url, sizes = (argparse_flags if with_argparse else absl_flags)(argv)
    # A platform that always passes --data_url passes it empty where nothing is chosen: that is no default.
    print(f"data_url: {data_url or DEFAULT_DATA}{'' if data_url else ' (the flag was empty)'}")
    print(f"image sizes: {sizes}")
    print(f"num_gpus: {mox.get_flag('num_gpus')}, max_to_keep: {mox.get_flag('max_to_keep')}")
    mox.set_flag("max_to_keep", 1)  # in code, over what the command line says; before mox.run
    print(f"max_to_keep, set in code: {mox.get_flag('max_to_keep')}")


if __name__ == "__main__":
    main(sys.argv)
