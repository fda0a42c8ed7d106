"""What the tests share: a real S3 server on loopback, and a folder on each kind of store."""

import itertools
import logging

import pytest

from mox_file import auth, file

NUMBERS = itertools.count()
AK, SK = "an-access-key-of-the-tests", "a-secret-key-of-the-tests"


@pytest.fixture(scope="session")
def s3_endpoint():
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_endpoint):
    """A client that makes buckets; it is no part of mox."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=s3_endpoint, aws_access_key_id=AK, aws_secret_access_key=SK, region_name="us-east-1"
    )


@pytest.fixture
def s3(s3_endpoint, s3_client, monkeypatch):
    """The environment of a user of S3, and the name of a new bucket."""

    for name in ("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", AK)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SK)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"bucket-{next(NUMBERS)}"
    s3_client.create_bucket(Bucket=bucket)
    return bucket


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
