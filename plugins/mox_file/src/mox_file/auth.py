"""Who one is for S3 and OBS, and where they are: `set_auth`, then environment variables, then botocore's own files.

The rule to keep: no key is ever part of a text. Keys are `Secret`s, which show as '***'.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from mox_core.errors import UsageError
from mox_file.urls import shown

ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
"""The environment variables that say where S3 is, the strongest first; the last one is that of ModelArts."""

_READ_BY_BOTOCORE: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
_OFF: Final = ("0", "false", "no", "off")
_NO_CHECKSUMS: Final = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_CONNECTIONS: Final = 64
"""At a time: more than anybody here has threads. botocore's own 10 would let some of them wait."""
_LOCK: Final = threading.Lock()


class Secret(str):
    """A string that does not show itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@frozen
class Auth:
    """What `set_auth` was given; None: not given."""

    ak: Secret | None = field(default=None, repr=False)
    sk: Secret | None = field(default=None, repr=False)
    server: str | None = None
    port: int | None = None
    is_secure: bool | None = None
    ssl_verify: bool | None = None
    path_style: bool | None = None
    retry: int | None = None
    client_timeout: float | None = None


_given: Auth = Auth()


def set_auth(  # noqa: PLR0913, PLR0917  (MoXing's)
    ak: str | None = None,
    sk: str | None = None,
    server: str | None = None,
    port: int | None = None,
    is_secure: bool | None = None,  # noqa: FBT001
    ssl_verify: bool | None = None,  # noqa: FBT001
    long_conn_mode: bool | None = None,  # noqa: FBT001
    path_style: bool | None = None,  # noqa: FBT001
    retry: int | None = None,
    retry_wait: float | None = None,
    client_timeout: float | None = None,
    list_max_keys: int | None = None,
    timeout_config: dict[str, Any] | None = None,
    negotiation: bool | None = None,  # noqa: FBT001
) -> None:
    """Say who one is for `s3://` and `obs://`, and where they are. What is None stays as it was.

    Args:
        ak: the access key.
        sk: the secret key; the two go together.
        server: the endpoint, with or without `https://` and port, such as `obs.cn-north-4.myhuaweicloud.com`.
        port: its port, if not that of the protocol.
        is_secure: False: http instead of https.
        ssl_verify: False: certificates are not checked.
        long_conn_mode: taken without effect: connections are always kept.
        path_style: True: the bucket in the path; False: in the name of the host. By default in the name for hosts of
            Huawei Cloud, which take no other way, and in the path for other endpoints.
        retry: how often a request is tried again.
        retry_wait: taken without effect: botocore waits longer from one try to the next.
        client_timeout: seconds to wait for a connection, and for data.
        list_max_keys: taken without effect: all pages of a listing are read.
        timeout_config: taken without effect.
        negotiation: taken without effect.

    Raises:
        UsageError: if one key lacks the other, or the server is no endpoint.
    """
    if (ak is None) != (sk is None):
        raise UsageError("mox.file.set_auth got one of ak and sk; they go together.")
    unused = {
        "long_conn_mode": long_conn_mode,
        "retry_wait": retry_wait,
        "list_max_keys": list_max_keys,
        "timeout_config": timeout_config,
        "negotiation": negotiation,
    }
    without_effect = [name for name, value in unused.items() if value is not None and value != {}]
    if without_effect:
        logging.getLogger("tensorflow").warning(
            "mox.file.set_auth: %s without effect here (see its docstring).", ", ".join(without_effect)
        )
    changes: dict[str, Any] = {
        "ak": None if ak is None else Secret(ak),
        "sk": None if sk is None else Secret(sk),
        "server": None if server is None else _checked_server(server),
        "port": port,
        "is_secure": is_secure,
        "ssl_verify": ssl_verify,
        "path_style": path_style,
        "retry": retry,
        "client_timeout": client_timeout,
    }
    global _given  # noqa: PLW0603  (an API of the process)
    with _LOCK:
        _given = evolve(_given, **{name: value for name, value in changes.items() if value is not None})


def s3_options() -> dict[str, Any]:
    """Return the arguments of `s3fs.S3FileSystem` that follow from `set_auth` and the environment."""
    given = _given
    client: dict[str, Any] = {}
    config: dict[str, Any] = {"max_pool_connections": _CONNECTIONS}
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if given.ak is not None:
        options |= {"key": given.ak, "secret": given.sk}
    endpoint = _endpoint(given)
    if endpoint is not None:
        options["endpoint_url"] = endpoint
        if "AWS_REQUEST_CHECKSUM_CALCULATION" not in os.environ:
            config |= _NO_CHECKSUMS  # stores other than Amazon's refuse what botocore sends by default
    path_style = given.path_style
    if path_style is None and endpoint is not None:
        path_style = "myhuaweicloud." not in (urlsplit(endpoint).hostname or "")
    if path_style is not None:
        config["s3"] = {"addressing_style": "path" if path_style else "virtual"}
    if given.client_timeout is not None:
        config |= {"connect_timeout": given.client_timeout, "read_timeout": given.client_timeout}
    if given.retry is not None:
        config["retries"] = {"total_max_attempts": given.retry + 1}
    verify = given.ssl_verify
    if verify is None and _is_off("S3_VERIFY_SSL"):
        verify = False
    if verify is not None:
        client["verify"] = verify
    return options | {"config_kwargs": config, "client_kwargs": client}


def identity() -> tuple[Any, ...]:
    """Return what a connection to S3 depends on: when it changes, a new one is made."""
    names = (*ENDPOINTS, *_READ_BY_BOTOCORE, "S3_USE_HTTPS", "S3_VERIFY_SSL", "AWS_DEFAULT_REGION", "AWS_REGION")
    return (_given, *(Secret(os.environ.get(name, "")) for name in names))


def _endpoint(given: Auth) -> str | None:
    named = given.server or next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    if named is None:
        return None
    parts = urlsplit(named if "://" in named else f"//{named}")
    secure = not _is_off("S3_USE_HTTPS") if given.is_secure is None else given.is_secure
    scheme = parts.scheme if parts.scheme and given.is_secure is None else "https" if secure else "http"
    host = parts.netloc if given.port is None else f"{parts.hostname}:{given.port}"
    return f"{scheme}://{host}"


def _checked_server(server: str) -> str:
    parts = urlsplit(server if "://" in server else f"//{server}")
    if not parts.hostname or "@" in parts.netloc or parts.path.strip("/") or parts.scheme not in ("", "http", "https"):
        raise UsageError(
            f"server of mox.file.set_auth is {shown(server)!r}; it must be a host, with or without http(s):// and a "
            "port, such as 'obs.cn-north-4.myhuaweicloud.com', and without keys, which are ak and sk."
        )
    return server


def _is_off(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in _OFF
