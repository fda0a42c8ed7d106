"""Who one is and where the store is; keys that are never shown; what is refused in words."""

import logging
import pathlib
import re
import subprocess
import sys

import pytest

import mox_core as mox
from mox_file import auth, errors, file

AK, SK = "AK-of-a-user-4711", "SK-of-a-user-0815"
NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def no_environment(s3, monkeypatch, tmp_path):
    """A bucket, of which the environment does not say where it is."""
    for name in NAMES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3


@pytest.mark.parametrize("scheme", ["s3", "obs"])
def test_set_auth_says_where_the_store_is(no_environment, s3_endpoint, scheme):
    host, port = s3_endpoint.removeprefix("http://").split(":")
    file.set_auth(ak=AK, sk=SK, server=host)
    file.set_auth(port=int(port), is_secure=False)  # what is not named stays
    base = f"{scheme}://{no_environment}"
    file.write(f"{base}/sub/a.txt", "x")
    assert file.read(f"{base}/sub/a.txt") == "x"
    assert file.glob(f"{base}/sub/*") == [f"{base}/sub/a.txt"]
    assert [top for top, _, _ in file.walk(base)] == [base, f"{base}/sub"]


@pytest.mark.parametrize("scheme", ["s3", "obs"])
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT"])
def test_environment_variables_say_where_the_store_is(no_environment, s3_endpoint, monkeypatch, scheme, variable):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", AK)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SK)
    monkeypatch.setenv(variable, s3_endpoint)
    if variable == "S3_ENDPOINT":  # as TensorFlow 1 and ModelArts have it
        monkeypatch.setenv(variable, s3_endpoint.removeprefix("http://"))
        monkeypatch.setenv("S3_USE_HTTPS", "0")
    file.write(f"{scheme}://{no_environment}/a.txt", "x")
    assert file.list_directory(f"{scheme}://{no_environment}") == ["a.txt"]


def test_obs_without_an_endpoint_is_refused(no_environment):
    with pytest.raises(mox.UsageError, match=r"obs:// needs the endpoint of OBS.*set_auth.*AWS_ENDPOINT_URL"):
        file.exists(f"obs://{no_environment}/a.txt")


@pytest.mark.parametrize(
    ("given", "style", "url"),
    [
        ({"server": "obs.cn-north-4.myhuaweicloud.com"}, "virtual", "https://obs.cn-north-4.myhuaweicloud.com"),
        ({"server": "minio.example", "port": 9000, "is_secure": False}, "path", "http://minio.example:9000"),
        ({"server": "http://minio.example:9000", "path_style": False}, "virtual", "http://minio.example:9000"),
    ],
)
@pytest.mark.usefixtures("no_environment")
def test_the_bucket_is_where_the_server_looks_for_it(given, style, url):
    file.set_auth(ak=AK, sk=SK, ssl_verify=False, retry=2, client_timeout=7, **given)
    options = auth.s3_options()
    assert options["endpoint_url"] == url
    assert options["client_kwargs"] == {"verify": False}
    config = options["config_kwargs"]
    assert config["s3"] == {"addressing_style": style}
    assert (config["retries"], config["read_timeout"]) == ({"total_max_attempts": 3}, 7)


def test_an_argument_without_effect_is_told(log):
    file.set_auth(long_conn_mode=True, list_max_keys=10)
    assert "long_conn_mode, list_max_keys without effect" in log()[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ak": AK}, "they go together"),
        ({"server": f"https://{AK}:{SK}@host"}, "without keys"),
        ({"server": "ftp://host"}, "must be a host"),
        ({"server": "host/bucket"}, "must be a host"),
    ],
)
def test_what_cannot_be_an_identity_is_refused(given, said):
    with pytest.raises(mox.UsageError, match=said) as raised:
        file.set_auth(**given)
    assert not re.search(f"{AK}|{SK}", str(raised.value))


def test_keys_are_in_no_log_no_repr_and_no_error(no_environment, s3_endpoint, caplog):
    caplog.set_level(logging.DEBUG)
    file.set_auth(ak=AK, sk=SK, server=s3_endpoint)
    url = f"s3://{no_environment}/a.txt"
    file.write(url, "x")
    with file.File(url) as opened:
        place = opened._place
        texts = [repr(opened), repr(place), repr(place.filesystem), repr(place.filesystem.storage_options)]
    texts += [repr(auth._given), str(auth._given), repr(auth.identity())]
    with pytest.raises(mox.file.MoxFileNotExistsException) as missing:
        file.read("s3://a-bucket-that-is-missing/a.txt")
    with pytest.raises(mox.UsageError) as in_url:
        file.exists(f"s3://{AK}:{SK}@bucket/a.txt")
    texts += [str(missing.value), repr(missing.value), str(in_url.value)]
    assert not [text for text in texts if AK in text or SK in text]
    assert SK not in caplog.text
    assert not [line for line in caplog.messages if AK in line and not line.startswith(("Sending", "Making"))]


def test_an_answer_that_names_a_key_is_kept_without_it():
    answer = {
        "Error": {"Code": "SignatureDoesNotMatch", "Message": "no", "AWSAccessKeyId": AK, "StringToSign": AK},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {"x": AK}},
    }
    assert errors.harmless(answer) == {
        "Error": {"Code": "SignatureDoesNotMatch", "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }


def test_a_store_that_does_not_answer_is_an_error_of_its_own(no_environment):
    file.set_auth(ak=AK, sk=SK, server="127.0.0.1", port=9, is_secure=False, retry=0, client_timeout=1)
    with pytest.raises(file.MoxFileRespException, match=r"127\.0\.0\.1:9") as raised:
        file.exists(f"s3://{no_environment}/a.txt")
    assert isinstance(raised.value, OSError)
    assert raised.value.resp is None


def test_without_keys_the_error_names_the_path(no_environment, s3_endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    with pytest.raises(file.MoxFileRespException, match=r"[Cc]redentials"):
        file.exists(f"s3://{no_environment}/a.txt")


def test_without_s3fs_a_sentence_says_what_to_install():
    program = "import sys; sys.modules['s3fs'] = None; from mox_file import file; file.exists('s3://bucket/a')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "UsageError: s3:// needs s3fs, which is not installed: pip install 'mox-file[s3]'" in done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "it must name a file or a folder"),
        ("s3://", "it must name a bucket"),
        (pathlib.PurePosixPath("s3://bucket/a"), "one slash behind the colon"),
        ("nothing://bucket/a", "fsspec does not know"),
    ],
)
def test_a_path_that_cannot_be_meant_is_refused(url, said):
    with pytest.raises(mox.UsageError, match=said):
        file.exists(url)


def test_a_name_with_a_bracket_is_no_pattern(base):
    for name in ("x1", "x[1]", "x*", "y/z[a]", "y/z*"):
        file.write(f"{base}/{name}" if "://" in base or "/" not in name else f"{base}/{name.replace('/', '-')}", name)
    file.remove(f"{base}/x[1]")
    file.remove(f"{base}/x*")
    assert file.exists(f"{base}/x1")
    if "://" in base:
        file.remove(f"{base}/y", recursive=True)
        assert file.list_directory(base) == ["x1"]
