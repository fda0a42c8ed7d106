"""What every test of this repository starts from and leaves behind."""

import os
import sys

import pytest

import forked
import mox_core.flags

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported


@pytest.fixture(autouse=True)
def _leave_environment_and_flags_as_they_were():
    environ, flags = dict(os.environ), dict(mox_core.flags._set_by_program)
    yield
    os.environ.clear()
    os.environ.update(environ)
    mox_core.flags._set_by_program.clear()
    mox_core.flags._set_by_program.update(flags)


@pytest.fixture(autouse=True, scope="session")
def _fork_the_processes_of_contracts():
    """The contracts of optimizers train on two devices in a process of its own, which says what it does by itself."""
    quadratic = sys.modules.get("mox_core.testing.quadratic")  # where no test needs it, nothing is imported
    with pytest.MonkeyPatch.context() as patch:
        if quadratic:
            patch.setattr(quadratic, "subprocess", forked)
        yield


def pytest_collection_modifyitems(items):
    """Puts files with slow tests first: what runs last, while other processes have nothing left to do, is short."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
