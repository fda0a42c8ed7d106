"""Network addresses, 'host:port': parsing, local addresses, free ports, and connections without a proxy.

By themselves, TensorFlow's servers listen on all addresses of a machine, IPv4 and IPv6, with SO_REUSEADDR. `listen`
does the same, so that it fails if theirs would fail. mox listens where the hosts of a job say, and has them do so too.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_HIGHEST_PORT: Final = 65535

_ANY_PORT: Final = 9  # getaddrinfo and connect need one; nothing is sent to it

_PROXY_EXCEPTIONS: Final = "no_grpc_proxy"

_handed_over: set[int] = set()
"""The ports of TensorFlow's servers in this process."""


def split(address: str) -> tuple[str, int]:
    """Return host and port of 'host:port'; the brackets of an IPv6 address are removed.

    Raises:
        ValueError: if the address has another form; the text says what is wrong.
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
    """Return whether a host is this machine: whether a socket can be bound to one of its addresses.

    Raises:
        OSError: if the name cannot be resolved.
    """
    return any(_can_bind(family, address[0]) for family, _, _, _, address in _resolve(host))


def of_this_machine(hosts: Iterable[str]) -> list[str]:
    """Return IP addresses of this machine: its name's, loopback, and its source addresses of connections to hosts."""
    found = {"127.0.0.1"}
    with contextlib.suppress(OSError):
        found.update(str(address[0]) for _, _, _, _, address in _resolve(socket.gethostname()))
    for host in hosts:
        with contextlib.suppress(OSError):
            family, _, _, _, address = _resolve(host)[0]
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)  # sends nothing: it only chooses the source address
                found.add(str(probe.getsockname()[0]))
    return sorted(found)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on a port of all addresses, as TensorFlow's server would.

    Raises:
        OSError: if the port is not available.
    """
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def where_to_listen(host: str, *, peers: Iterable[str]) -> list[tuple[int, str]]:
    """Return the addresses, each with its family, on which a host of this machine is called; none: all addresses.

    A name may mean loopback here and another address elsewhere, as Debian's hosts file has it. If peers are on other
    machines, it is all addresses for such a name: which one they call is not known here.

    Args:
        host: a name, or an IP address.
        peers: the hosts that call.

    Raises:
        OSError: if the host cannot be resolved.
    """
    found = [(family, address[0]) for family, _, _, _, address in _resolve(host) if _can_bind(family, address[0])]
    is_name = host not in [ip for _, ip in found]
    if is_name and _is_loopback(host) and not all(map(_is_loopback, peers)):
        return []
    return list(dict.fromkeys(found))


def for_one_server(host: str, *, peers: Iterable[str]) -> str | None:
    """Return the address for a server that listens on one address or on all; None: on all."""
    found = where_to_listen(host, peers=peers)
    known = [ipaddress.ip_address(ip) for _, ip in sorted(found) if "%" not in ip]  # IPv4 before IPv6
    if not known or (len(found) > 1 and not all(ip.is_loopback for ip in known)):
        return None  # which of several the others reach is not known here
    return str(known[0])


def listen_at(host: str, port: int, *, peers: Iterable[str]) -> list[socket.socket]:
    """Return sockets that listen on a port where `where_to_listen` says.

    Raises:
        OSError: if the port is not available on all addresses, which TensorFlow's server may want.
    """
    listen(port).close()
    found = where_to_listen(host, peers=peers)
    if not found:
        return [listen(port)]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((ip, port), family=family)) for family, ip in found]
        stack.pop_all()
    return sockets


def why_not_free(port: int) -> str | None:
    """Return why a port is not available to this process; None if it is, or if it was handed over to TensorFlow."""
    if port in _handed_over:
        return None
    try:
        listen(port).close()
    except OSError as error:
        return reason(error)
    return None


def reason(error: OSError) -> str:
    """Return in words why a port is not available."""
    return "it is in use" if error.errno == errno.EADDRINUSE else str(error.strerror)


def hand_over(port: int) -> None:
    """Record that TensorFlow's server of this process has the port; it keeps it as long as the process lives."""
    _handed_over.add(port)


def is_handed_over(port: int) -> bool:
    """Return whether TensorFlow's server of this process has the port."""
    return port in _handed_over


@contextlib.contextmanager
def without_proxies(hosts: Iterable[str]) -> Iterator[None]:
    """Make gRPC connect to hosts directly inside the block, in spite of http_proxy, https_proxy and grpc_proxy.

    gRPC reads these variables when it makes a channel, and would send everything to the proxy: the second half of
    box 2-3-1 in the manual. The hosts are added to gRPC's own exceptions, which take precedence over no_proxy, so that
    other traffic of the program keeps its proxies.
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


def _resolve(host: str) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    found = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_STREAM)
    return [
        (family, kind, protocol, name, (str(address[0]), int(address[1])))
        for family, kind, protocol, name, address in found
    ]


def _is_loopback(host: str) -> bool:
    """Return whether a host is reached without a network, as far as it is known here."""
    try:
        return all(ipaddress.ip_address(address[0].partition("%")[0]).is_loopback for *_, address in _resolve(host))
    except OSError:
        return False


def _can_bind(family: int, ip: str) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.bind((ip, 0))
        return True
    return False
