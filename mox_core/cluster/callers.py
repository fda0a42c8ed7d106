"""Callers of a process that listens: strangers may be among them, any number, and those who say nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mox_core.cluster.greetings import LONGEST

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine


_MOST: Final = 100
"""Of more callers at a time, the first one is dropped: a peer speaks at once, and calls again."""

_PAUSE_SECONDS: Final = 0.25


async def accept(
    listener: socket.socket, answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]
) -> None:
    """Accept callers for ever, a limited number at a time; asyncio's servers accept more than there may be files.

    Args:
        listener: the socket.
        answer: what is run for each caller; it closes the connection.
    """
    listener.setblocking(False)
    callers: dict[asyncio.Task[None], None] = {}
    while True:
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        except OSError:  # it has hung up, or other parts of the process have all files
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        caller = asyncio.create_task(answer(*await asyncio.open_connection(sock=connection, limit=LONGEST)))
        callers[caller] = None
        caller.add_done_callback(callers.pop)
        if len(callers) > _MOST:
            first = next(iter(callers))
            first.cancel()
            await asyncio.wait([first])
