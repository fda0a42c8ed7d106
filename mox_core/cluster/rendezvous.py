"""How the processes of a job find each other before TensorFlow, which would hang without a word, looks for them.

The protocol. Each process listens at its own address, where TensorFlow's server will listen later, and dials every
process that it needs again and again. A dial is a connection with one line in each direction,

    mox 1 <digest of hosts and sync_replicas> <job> <index> <token of this start> <here | ready>

from the one that dials, then from the one that is dialled, and its end. *Here* means "I look for the others", *ready*
means "I have reached all of them". A process is done with another when it has said *ready* to it and got an answer, and
has been told *ready* by it, both by the same start of that process. When it is done with all, it stops listening and
goes on to TensorFlow. Nobody can still need it then: all have reached it, and all know that it has reached them.

- A process that dies before it is ready is dialled in vain, and nobody goes on. Started again it has another token, and
  all begin anew with it. One that dies in the moment between its *ready* to one and to another leaves the first in
  TensorFlow's hands: no protocol of messages can close that gap.
- A process that comes when the others are in the run meets TensorFlow's servers there, which speak first, and in
  another language. Where workers do not step together it can join them: if the chief is in the run, there is nobody to
  wait for. Workers that step together cannot be joined: it waits until they end and are started again, and says so.
- An answer of another job, or of another process than the one that the address was given to, will not get better by
  waiting: that is an error at once. Silence, and what other programs say, is reported, and waited out.
- A ps of workers that step together does not listen: it looks for the chief only, and leaves with it.

All is done in one thread without blocking, with no more than a few connections at a time, each for a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import signal
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn

from attrs import define, frozen

from mox_core.cluster import addresses
from mox_core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mox_core.cluster.cluster import Cluster, Process


_MAGIC: Final = "mox"

_VERSION: Final = "1"

_LONGEST_LINE: Final = 256

_CONNECT_SECONDS: Final = 5.0

_ANSWER_SECONDS: Final = 10.0
"""More than a busy machine takes: who is taken for silent may have gone on already."""

_PAUSE_SECONDS: Final = 0.25

_DIALS_A_SECOND: Final = 200
"""Pauses grow with the number of processes, so that a thousand of them do not spend their time on dialling."""

_AT_A_TIME: Final = 50

_WATCH_SECONDS: Final = 1.0

_FIRST_REPORT_SECONDS: Final = 3.0

_REPORT_SECONDS: Final = 10.0

_NAMED: Final = 8
"""So many missing processes are named in a line."""

_SETTINGS_FRAME: Final = b"\x04"
"""What stands in the fourth byte of what an HTTP/2 server, as those of TensorFlow are, says first."""

_SILENT: Final = "it is reached and does not answer: it is in another run, or another program has the port"

_LOGGER: Final = logging.getLogger("tensorflow")


def wait_for_peers(cluster: Cluster, timeout: float) -> None:
    """Returns when all processes that this one needs are there; call it before TensorFlow starts its server.

    In a process whose TensorFlow has its server already, from an earlier run, it returns at once.

    Args:
        cluster: the job.
        timeout: after so many seconds it gives up; 0: never.

    Raises:
        ClusterError: where someone is missing, or another process than the one that is looked for answers.
        UsageError: where the own port is taken.
    """
    if not cluster.several or addresses.is_handed_over(cluster.me.port):
        return
    asyncio.run(_Rendezvous(cluster).held(timeout))
    if cluster.listens:
        addresses.hand_over(cluster.me.port)


def unreachable(processes: Iterable[Process]) -> list[Process]:
    """Returns those of some processes at whose address nobody listens any more, to name who has gone from a run."""
    return asyncio.run(_unreachable(list(processes)))


def leave_with_chief(cluster: Cluster, timeout: float) -> NoReturn:
    """Ends this process, a ps with nothing to do: with the chief, or at SIGTERM.

    Raises:
        SystemExit: always, with code 0.
        ClusterError: where the chief never comes.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig()  # nothing else sets up a log in this process
    _LOGGER.setLevel(logging.INFO)
    why = "workers that step together share no weights" if cluster.synchronous else "the workers need none"
    if not cluster.several:
        why = "one worker has all weights itself"
    _LOGGER.info("%s has nothing to do, %s: it leaves with worker 0.", cluster.me, why)
    if cluster.several:
        wait_for_peers(cluster, timeout)
        wait_until_gone(cluster.chief)
    sys.exit(0)


def wait_until_gone(process: Process, patience: float = 30.0) -> None:
    """Returns when nobody has listened at the address of a process for so many seconds, as a ps leaves with the chief.

    The patience covers the time in which the port goes from the rendezvous to TensorFlow; afterwards it is short.
    """
    began = last_seen = time.monotonic()
    while (now := time.monotonic()) - last_seen < (patience if now - began < 2 * patience else min(patience, 3.0)):
        if not unreachable([process]):
            last_seen = time.monotonic()
        time.sleep(_WATCH_SECONDS)


async def _unreachable(processes: Sequence[Process]) -> list[Process]:
    free = asyncio.Semaphore(_AT_A_TIME)

    async def is_gone(process: Process) -> bool:
        async with free:
            try:
                _, writer = await _connected(process)
            except (OSError, asyncio.TimeoutError):
                return True
            await _closed(writer)
            return False

    gone = await asyncio.gather(*map(is_gone, processes))
    return [process for process, is_it in zip(processes, gone, strict=True) if is_it]


async def _connected(process: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    dial = asyncio.open_connection(process.host, process.port, limit=_LONGEST_LINE)
    return await asyncio.wait_for(dial, _CONNECT_SECONDS)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _why_not_connected(error: Exception) -> str:
    """Says in a few words why a process cannot be reached; asyncio puts the errors of several addresses in one text."""
    if isinstance(error, asyncio.TimeoutError):
        return "its machine does not answer"
    numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    if numbers == {errno.ECONNREFUSED}:
        return "nobody listens there"
    others = [os.strerror(number) for number in sorted(numbers - {errno.ECONNREFUSED})]
    return ", ".join(others) or getattr(error, "strerror", None) or str(error)


async def _heard(reader: asyncio.StreamReader) -> bytes:
    """Returns a line, or as much as shows that it is TensorFlow's server, which says no lines."""
    head = await reader.readexactly(4)
    return head if head.endswith(_SETTINGS_FRAME) else head + await reader.readline()


@frozen
class _Line:
    """What one process says to another."""

    digest: str
    job: str
    index: int
    token: str
    ready: bool

    def encoded(self) -> bytes:
        state = "ready" if self.ready else "here"
        return f"{_MAGIC} {_VERSION} {self.digest} {self.job} {self.index} {self.token} {state}\n".encode()


def _parsed(line: bytes) -> _Line | None:
    """Returns what a line says; None for anything else."""
    parts = line.decode("ascii", "replace").split()
    if len(parts) != 7 or parts[:2] != [_MAGIC, _VERSION] or not parts[4].isdecimal():  # noqa: PLR2004
        return None
    return _Line(digest=parts[2], job=parts[3], index=int(parts[4]), token=parts[5], ready=parts[6] == "ready")


@define(eq=False)
class _Peer:
    """What is known of another process; tokens tell its starts apart.

    Attributes:
        process: which one it is.
        found: what the last dial found, in words.
        reached: its token at the last dial; None where that failed.
        told: its token when it last answered our *ready*.
        ready: its token when it last said *ready*.
        running: whether TensorFlow's server answers there.
        caller_is_stranger: whether the last that called by its name was started with other hosts.
    """

    process: Process
    found: str = "not dialled yet"
    reached: str | None = None
    told: str | None = None
    ready: str | None = None
    running: bool = False
    caller_is_stranger: bool = False

    def described(self) -> str:
        """What to say of it while it is missing."""
        return self.found + ("; one that was started with other hosts has called" if self.caller_is_stranger else "")


class _Rendezvous:
    """One process's part in the protocol above."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._peers = {(each.job, each.index): _Peer(each) for each in cluster.peers}
        hosts = json.dumps([cluster.workers, cluster.ps, cluster.synchronous])
        self._digest = hashlib.sha256(hosts.encode()).hexdigest()[:16]
        self._token = secrets.token_hex(8)
        self._pause = max(_PAUSE_SECONDS, len(self._peers) / _DIALS_A_SECOND)

    async def held(self, timeout: float) -> None:
        """Takes part until all are there."""
        server = await self._listening() if self._cluster.listens else None
        reports = asyncio.create_task(self._report(timeout))
        free = asyncio.Semaphore(_AT_A_TIME)
        visits = asyncio.gather(*(self._visit(peer, free) for peer in self._peers.values()))
        try:
            await asyncio.wait_for(visits, timeout or None)
        except asyncio.TimeoutError:
            raise ClusterError(
                f"{self._cluster.me} has waited {timeout:g} s in vain for {self._missing()}. Start what is missing, "
                "correct the hosts, or give more time with --session_timeout=SECONDS (0: without end)."
            ) from None
        finally:
            reports.cancel()
            if server:
                server.close()
        _LOGGER.info("%s: all %d processes are there.", self._cluster.me, len(self._peers) + 1)

    async def _listening(self) -> asyncio.Server:
        me = self._cluster.me
        try:
            return await asyncio.start_server(self._answer, sock=addresses.listen(me.port), limit=_LONGEST_LINE)
        except OSError as error:
            raise UsageError(
                f"{me} cannot listen on its port: {addresses.reason(error)}. End what has it, or name another port for "
                "all processes."
            ) from error

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers whoever speaks the language, and takes note once the answer is on its way."""
        try:
            line = _parsed(await asyncio.wait_for(reader.readline(), _ANSWER_SECONDS))
            if line:
                writer.write(self._line())
                await writer.drain()
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            return  # cancelled, as all were there: asyncio would print that as an error
        finally:
            await _closed(writer)
        peer = self._peers.get((line.job, line.index)) if line else None
        if line and peer:
            peer.caller_is_stranger = line.digest != self._digest
            if not peer.caller_is_stranger:
                peer.ready = line.token if line.ready else None

    async def _visit(self, peer: _Peer, free: asyncio.Semaphore) -> None:
        """Dials a process until all are together: one that has been ready may be started again before that."""
        while not self._together():
            if not self._met(peer):
                async with free:
                    await self._dial(peer)
            await asyncio.sleep(self._pause)

    async def _dial(self, peer: _Peer) -> None:
        try:
            reader, writer = await _connected(peer.process)
        except (OSError, asyncio.TimeoutError) as error:
            peer.reached, peer.running, peer.found = None, False, _why_not_connected(error)
            return
        ready = self._ready()
        if not peer.reached:
            peer.found = _SILENT
        try:
            writer.write(self._line())
            heard = await asyncio.wait_for(_heard(reader), _ANSWER_SECONDS)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            heard = b""
        finally:
            await _closed(writer)
        self._note(peer, heard, said_ready=ready)

    def _note(self, peer: _Peer, heard: bytes, *, said_ready: bool) -> None:
        """Takes note of what a dial brought."""
        peer.running = heard[3:4] == _SETTINGS_FRAME
        line = _parsed(heard)
        if line is None:
            peer.reached = None
            other = f"another program answers there, {heard!r}" if heard else _SILENT
            peer.found = "TensorFlow's server answers there: it is in a run already" if peer.running else other
            return
        if (line.job, line.index) != (peer.process.job, peer.process.index):
            raise ClusterError(
                f"at the address of {peer.process} {line.job} {line.index} answers. Each process needs an address of "
                "its own: correct the hosts, or the --job_name and --task_index of that process."
            )
        if line.digest != self._digest:
            raise ClusterError(
                f"{peer.process} was started with other hosts than this process, {self._cluster.me}: give all "
                "processes the same --worker_hosts, --ps_hosts and --sync_replicas (or the same cluster in TF_CONFIG)."
            )
        peer.reached, peer.found = line.token, "it is there, and has not reached all others yet: see what it says"
        if said_ready:
            peer.told = line.token

    def _line(self) -> bytes:
        me = self._cluster.me
        return _Line(self._digest, me.job, me.index, self._token, self._ready()).encoded()

    def _ready(self) -> bool:
        """Whether this process has reached all others."""
        return all(peer.reached or self._met(peer) for peer in self._peers.values())

    def _met(self, peer: _Peer) -> bool:
        """Whether this process is done with another."""
        if self._cluster.idle:
            return bool(peer.reached or peer.running)
        if peer.running:
            return self._cluster.serving
        return peer.told is not None and peer.told == peer.ready

    def _together(self) -> bool:
        """Whether there is nobody to wait for."""
        chief = self._peers.get(("worker", 0))
        joins = chief is not None and chief.running and self._met(chief)
        return joins or all(map(self._met, self._peers.values()))

    async def _report(self, timeout: float) -> None:
        """Says, soon and then again and again, who is waited for."""
        end = f" It gives up after {timeout:g} s (--session_timeout)." if timeout else ""
        began = datetime.now().astimezone()
        pause = _FIRST_REPORT_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = _REPORT_SECONDS
            waited = (datetime.now().astimezone() - began).total_seconds()
            _LOGGER.warning(
                "%s has waited %.0f s, since %s, for %s.%s",
                self._cluster.me,
                waited,
                f"{began:%H:%M:%S}",
                self._missing(),
                end,
            )

    def _missing(self) -> str:
        missing = [peer for peer in self._peers.values() if not self._met(peer)]
        named = [f"{peer.process} ({peer.described()})" for peer in missing[:_NAMED]]
        return ", ".join([*named, *([f"{len(missing) - _NAMED} more"] if len(missing) > _NAMED else [])])
