"""Every network that a distribution of ours has is trained for a step, each in a process of its own.

A few of them are so from the wheels in a clean environment, too (`test_wheels.py`).
"""

import sys
from pathlib import Path

import pytest

import forked
from mox_core.plugins.known_names import FIRST_PARTY

PROGRAM = Path(__file__).with_name("one_step.py")


def names_of(distribution):
    return FIRST_PARTY[distribution]["mox_networks"]


def every_name():
    """The names of networks, with the plugin where another one's comes first."""
    slim = names_of("mox-slim-nets")
    yield from (*names_of("mox-resnet"), *slim)
    yield from (f"applications/{name}" if name in slim else name for name in names_of("mox-applications"))


@pytest.mark.networks
@pytest.mark.parametrize("name", list(every_name()))
def test_a_network_trains_for_a_step(name):
    done = forked.run([sys.executable, PROGRAM, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
