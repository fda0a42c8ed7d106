"""Network addresses, 'host:port': whether one is of this machine, free, and reached without a proxy.

TensorFlow's servers listen on all addresses of a machine, IPv4 and IPv6, with SO_REUSEADDR; so does `listen` here,
which therefore fails where theirs would.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_HIGHEST_PORT: Final = 65535

_ANY_PORT: Final = 9  # nothing is sent to it

_PROXY_EXCEPTIONS: Final = "no_grpc_proxy"

_handed_over: set[int] = set()


def split(address: str) -> tuple[str, int]:
    """Returns host and port; the brackets of an IPv6 address are left out.

    Raises:
        ValueError: with what is wrong.
    """
    host, colon, port = address.rpartition(":")
    if not colon:
        raise ValueError("has no port" if address else "is empty")
    if not host:
        raise ValueError("has no host")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= _HIGHEST_PORT):
        raise ValueError(f"has the port {port!r}, and a port is a number from 1 to {_HIGHEST_PORT}")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host or "/" in host:
        raise ValueError("has more in it than host and port (an IPv6 address stands in brackets, '[::1]:2222')")
    return host, int(port)


def is_local(host: str) -> bool:
    """Whether a host is this machine: whether a socket can be bound to one of the host's addresses.

    Raises:
        OSError: where nobody knows the name.
    """
    return any(_can_bind(family, place[0]) for family, _, _, _, place in _look_up(host))


def of_this_machine(hosts: Iterable[str]) -> list[str]:
    """Returns addresses of this machine: its name's, loopback, and those from which it would speak to hosts."""
    found = {"127.0.0.1"}
    with contextlib.suppress(OSError):
        found.update(str(place[0]) for _, _, _, _, place in _look_up(socket.gethostname()))
    for host in hosts:
        with contextlib.suppress(OSError):
            family, _, _, _, place = _look_up(host)[0]
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(place)  # sends nothing: it only finds the way
                found.add(str(probe.getsockname()[0]))
    return sorted(found)


def listen(port: int) -> socket.socket:
    """Returns a socket that listens where TensorFlow's server would.

    Raises:
        OSError: where the port cannot be had.
    """
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def why_not_free(port: int) -> str | None:
    """Returns why this process cannot have a port; None where it can, or has it already by `hand_over`."""
    if port in _handed_over:
        return None
    try:
        listen(port).close()
    except OSError as error:
        return reason(error)
    return None


def reason(error: OSError) -> str:
    """Says why a port cannot be had."""
    return "it is in use" if error.errno == errno.EADDRINUSE else str(error.strerror)


def hand_over(port: int) -> None:
    """Notes that a port is TensorFlow's from now on, whose server stays as long as the process."""
    _handed_over.add(port)


def is_handed_over(port: int) -> bool:
    """Whether TensorFlow's server of this process has a port."""
    return port in _handed_over


@contextlib.contextmanager
def without_proxies(hosts: Iterable[str]) -> Iterator[None]:
    """Lets TensorFlow reach hosts directly while the block lasts, whatever http_proxy, https_proxy or grpc_proxy say.

    gRPC reads those variables when it makes a channel, and sends everything to the proxy; the second half of box 2-3-1.
    Its own exceptions, which stand above no_proxy, are added to, so that what else the program does keeps its proxies.
    """
    before = os.environ.get(_PROXY_EXCEPTIONS)
    kept = os.environ.get("no_proxy", "") if before is None else before
    os.environ[_PROXY_EXCEPTIONS] = ",".join(filter(None, [kept, *dict.fromkeys(hosts)]))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_PROXY_EXCEPTIONS, None)
        else:
            os.environ[_PROXY_EXCEPTIONS] = before


def _look_up(host: str) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    found = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_STREAM)
    return [
        (family, kind, protocol, name, (str(place[0]), int(place[1]))) for family, kind, protocol, name, place in found
    ]


def _can_bind(family: int, ip: str) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.bind((ip, 0))
        return True
    return False
