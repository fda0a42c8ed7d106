"""examples/flags.py: flags of the script beside those of mox, each with a command line of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "flags.py"


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], ["data_url: my_images\n", "[224]", "num_gpus: 1, max_to_keep: 5"]),
        (
            ["--data_url=flowers", "--image_sizes=224,192", "--max_to_keep=3"],
            ["flowers", "[224, 192]", "max_to_keep: 3"],
        ),
        (["--data_url="], ["my_images (the flag was empty)"]),
        (["--argparse", "--data_url", "flowers", "--num_gpus=2"], ["flowers", "[224]", "num_gpus: 2"]),
        (["--argparse", "--data_url=", "--nobody_defines_this=1"], ["my_images (the flag was empty)"]),
    ],
)
def test_the_script_gets_its_flags_and_mox_its_own(arguments, printed):
    run = subprocess.run([sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, check=True)
    for part in [*printed, "max_to_keep, set in code: 1"]:
        assert part in run.stdout
