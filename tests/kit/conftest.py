"""What the tests of the kit share: plugins that are good but for one thing, and the check that has to find it."""

import inspect
import re

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def _leave_the_seed_as_it_was():
    yield
    tf.compat.v1.random.set_random_seed(None)


@pytest.fixture
def install(install_fake):
    """Installs a plugin `kit` from its source, in which some words are replaced by others."""

    def install(source, *changes):
        for old, new in changes:
            assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in the source"
            source = source.replace(old, new)
        install_fake("kit", "kit", source)

    return install


@pytest.fixture
def run_check(tmp_path, tmp_path_factory):
    """Runs one check of a contract, or all that need no process of their own."""

    def one(contract, name, **arguments):
        given = {"tmp_path": tmp_path / name, "tmp_path_factory": tmp_path_factory, **arguments}
        given["tmp_path"].mkdir(exist_ok=True)
        method = getattr(contract(), name)
        method(**{key: value for key, value in given.items() if key in inspect.signature(method).parameters})

    def run(contract, name=None, **arguments):
        if name is not None:
            one(contract, name, **arguments)
            return
        for each in [each for each in dir(contract) if each.startswith("test_")]:
            marks = [mark.name for mark in getattr(getattr(contract, each), "pytestmark", [])]
            if "slow" not in marks:
                one(contract, each, **arguments)

    return run


@pytest.fixture
def caught(run_check):
    """Asserts that a check fails with a message that holds some words."""

    def caught(contract, name, words, **arguments):
        with pytest.raises(AssertionError, match=re.escape(words)):
            run_check(contract, name, **arguments)

    return caught
