"""Who is there: whether anybody listens at the address of a process, and whether TensorFlow's server does.

A look is a connection. Time in which nobody looks counts for nothing: a watcher that was stopped, or was given no CPU,
would otherwise take a process for gone that has been there all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Final

from mox_core.cluster.greetings import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mox_core.cluster.cluster import Process


CONNECT_SECONDS: Final = 5.0

ANSWER_SECONDS: Final = 10.0
"""Longer than a busy machine takes to answer: a peer that is given up too early may have gone on already."""

MAX_CONNECTIONS: Final = 50

SETTINGS_FRAME: Final = b"\x04"
"""Fourth byte, the type, of the first frame of an HTTP/2 server, such as TensorFlow's: SETTINGS."""

WATCH_SECONDS: Final = 1.0
"""Between two looks."""

_LOOKS: Final = 4
"""So many in vain, one after another, and a process has gone."""

_LOOKS_BEFORE_IT_RUNS: Final = 30
"""The same while its port passes from the rendezvous to TensorFlow, which takes seconds to start."""

_ANY_LINE: Final = b"?\n"
"""The rendezvous closes a connection that brings it; TensorFlow's server has sent its first frame before."""


def unreachable(processes: Iterable[Process]) -> list[Process]:
    """Return those of some processes at whose address nobody listens."""
    return asyncio.run(_unreachable(list(processes)))


def runs(process: Process) -> bool:
    """Return whether TensorFlow's server answers at the address of a process."""
    return asyncio.run(_runs(process))


def wait_until_gone(process: Process, *, has_run: bool = False) -> None:
    """Wait until several looks, one after another, have found nobody at the address of a process.

    Args:
        process: the process.
        has_run: whether its server has been there before; more looks are taken until it has.
    """
    in_vain = 0
    while in_vain < (_LOOKS if has_run else _LOOKS_BEFORE_IT_RUNS):
        has_run = has_run or runs(process)
        in_vain = in_vain + 1 if unreachable([process]) else 0
        time.sleep(WATCH_SECONDS)


async def connect(process: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a process.

    Raises:
        OSError: if nobody listens at its address.
        asyncio.TimeoutError: if nothing answers there.
    """
    dial = asyncio.open_connection(process.host, process.port, limit=LONGEST)
    reader, writer = await asyncio.wait_for(dial, CONNECT_SECONDS)
    if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
        await close(writer)  # TCP connects a port of this machine that nobody has with itself, once in many times
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return reader, writer


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, in whatever state it is."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _unreachable(processes: Sequence[Process]) -> list[Process]:
    free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def is_gone(process: Process) -> bool:
        async with free:
            return not await _listens(process)

    gone = await asyncio.gather(*map(is_gone, processes))
    return [process for process, is_it in zip(processes, gone, strict=True) if is_it]


async def _listens(process: Process) -> bool:
    for _ in range(2):  # time may have run out because this process was given no CPU
        try:
            _, writer = await connect(process)
        except asyncio.TimeoutError:
            continue
        except OSError:
            return False
        await close(writer)
        return True
    return False


async def _runs(process: Process) -> bool:
    try:
        reader, writer = await connect(process)
    except (OSError, asyncio.TimeoutError):
        return False
    try:
        writer.write(_ANY_LINE)
        first = await asyncio.wait_for(reader.readexactly(4), ANSWER_SECONDS)
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        await close(writer)
    return first.endswith(SETTINGS_FRAME)
