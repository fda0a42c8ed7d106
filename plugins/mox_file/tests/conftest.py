"""What the tests share: a real S3 server on loopback, and a folder on each kind of store."""

import itertools
import logging

import pytest

from mox_file import auth, file
from s3_server import s3, s3_client, s3_endpoint, s3_server  # noqa: F401  (fixtures)

NUMBERS = itertools.count()


@pytest.fixture(params=["local", "memory", "s3"])
def base(request, tmp_path):
    """The path of a new, empty folder, without a slash at its end."""
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('s3')}"
    url = str(tmp_path / "base") if request.param == "local" else f"memory://base-{next(NUMBERS)}"
    file.make_dirs(url)
    return url


@pytest.fixture(autouse=True)
def _nobody_is_known():
    before = auth._given
    yield
    auth._given = before


@pytest.fixture
def log():
    """The lines of mox's log."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler, logger = Lines(), logging.getLogger("tensorflow")
    logger.addHandler(handler)
    yield lambda: lines
    logger.removeHandler(handler)
