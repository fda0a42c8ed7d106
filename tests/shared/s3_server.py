"""A real server that speaks S3, on loopback, and what a test needs of it. A conftest.py imports the fixtures."""

import itertools
import logging
import threading

import pytest

AK, SK = "an-access-key-of-the-tests", "a-secret-key-of-the-tests"
_NUMBERS = itertools.count()


class S3Server:
    """The server, with a list of what it was asked.

    Attributes:
        url: where it is.
        requests: a method and a path for each request, as 'GET /bucket/flowers/daisy/1.jpg'.
    """

    def __init__(self):
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.requests = []
        app = DomainDispatcherApplication(create_backend_app)

        def listening(environ, start_response):
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            return app(environ, start_response)

        self._server = make_server("127.0.0.1", 0, listening, threaded=True, request_handler=MotoRequestHandler)
        self.url = "http://{}:{}".format(*self._server.server_address[:2])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def fetched(self, bucket, *, end=""):
        """The names of the objects of a bucket that were fetched, once for each time."""
        start = f"GET /{bucket}/"
        found = [each.removeprefix(start) for each in list(self.requests) if each.startswith(start)]
        return sorted(name for name in found if name and name.endswith(end))


@pytest.fixture(scope="session")
def s3_server():
    server = S3Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3_endpoint(s3_server):
    return s3_server.url


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
    bucket = f"bucket-{next(_NUMBERS)}"
    s3_client.create_bucket(Bucket=bucket)
    return bucket


@pytest.fixture
def uploaded(s3, s3_client):
    """Uploads a folder, and returns its URL."""

    def upload(folder, name="data"):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                s3_client.upload_file(str(path), s3, f"{name}/{path.relative_to(folder).as_posix()}")
        return f"s3://{s3}/{name}"

    return upload
