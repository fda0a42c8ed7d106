"""The rendezvous of the processes of a job, before TensorFlow, which would hang without a message, connects them.

The protocol. Each process listens at its own address, where TensorFlow's server will listen later, and dials each of
its peers repeatedly. A dial is a connection in which first the caller and then the answerer sends one line, which
`greetings` describes: who it is, and *here*, "I am waiting for the others", or *ready*, "I have reached all of them". A
process has met a peer when it has sent *ready* to it and got the answer that this was *heard*, and has heard *ready*
from it, both of one start of the peer. When it has met all peers, it stops listening and goes on to TensorFlow. No peer
needs it any more: each of them has reached it, and knows that it has reached all.

- If a process dies before it is ready, nobody goes on. When it is started again it has other keys, and all begin anew
  with it. If it dies between its *ready* to one peer and to the next, the first one goes on and waits in TensorFlow: no
  protocol can close that gap.
- A process that starts while the others are in the run reaches TensorFlow's servers, which it recognizes: they send
  first, in HTTP/2. It can join asynchronous workers: if the chief is in the run, it waits for nobody. It cannot join
  synchronous workers: it waits until they end and are started again, and reports that.
- An answer with the digest of another job, or from another process than the address belongs to, is an error at once:
  waiting would not help. No answer, and answers of other programs, are reported and waited out.
- A ps of synchronous workers does not listen: it waits for the chief only, and exits with it.
- The addresses are trusted, callers are not: anybody may call. *ready* is heard from one who has the key to the seal
  that the address of the peer has answered with. What any other caller says changes nothing, but that the peer is
  dialled again, in case it has been started again. Of callers who send nothing, the latest few are waited for, some
  seconds.

Everything runs in one thread without blocking, with a limited number of short connections at a time.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import signal
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn

from attrs import define

from mox_core.cluster import addresses, presence
from mox_core.cluster.callers import accept
from mox_core.cluster.cluster import CONTROLLER
from mox_core.cluster.greetings import Greeting, Keys, digest_of, parse, seal
from mox_core.cluster.presence import ANSWER_SECONDS, MAX_CONNECTIONS, SETTINGS_FRAME, close, connect
from mox_core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    import socket

    from mox_core.cluster.cluster import Cluster, Process


_PAUSE_SECONDS: Final = 0.25

_DIALS_A_SECOND: Final = 200
"""Upper limit: pauses grow with the number of processes, so that a thousand of them do not only dial."""

_FIRST_REPORT_SECONDS: Final = 3.0

_REPORT_SECONDS: Final = 10.0

_MAX_NAMED: Final = 8
"""The highest number of missing processes that a line names."""

_SILENT: Final = "it is reached and does not answer: it is in another run, or another program has the port"

_LOGGER: Final = logging.getLogger("tensorflow")


def wait_for_peers(cluster: Cluster, timeout: float) -> None:
    """Wait until all peers of this process are ready; to be called before TensorFlow starts its server.

    If TensorFlow's server of this process runs already, from an earlier run, return at once.

    Args:
        cluster: the job.
        timeout: seconds to wait; 0: no limit.

    Raises:
        ClusterError: if a peer is missing after the timeout, or another process answers at its address.
        UsageError: if this process's port is not available.
    """
    if not cluster.several or addresses.is_handed_over(cluster.me.port):
        return
    asyncio.run(_Rendezvous(cluster).wait(timeout))
    if cluster.listens:
        addresses.hand_over(cluster.me.port)


def leave_with_chief(cluster: Cluster, timeout: float) -> NoReturn:
    """Exit this process, an idle ps or a controller: when the chief has gone, or at SIGTERM.

    Args:
        cluster: the job.
        timeout: seconds to wait for the chief to start; 0: no limit.

    Raises:
        SystemExit: always, with code 0.
        ClusterError: if the chief does not start within the timeout.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig()  # nothing else configures logging in this process
    _LOGGER.setLevel(logging.INFO)
    leads = cluster.job == CONTROLLER
    me = cluster.job if leads else cluster.me
    _LOGGER.info("%s has nothing to do, %s: it leaves with worker 0.", me, cluster.why_idle)
    if leads:
        _wait_until_there(cluster.chief, timeout)
        presence.wait_until_gone(cluster.chief)
    elif cluster.several:
        wait_for_peers(cluster, timeout)
        presence.wait_until_gone(cluster.chief)
    sys.exit(0)


def _wait_until_there(process: Process, timeout: float) -> None:
    """Wait until somebody listens at the address of a process, or raise ClusterError after the timeout."""
    began = time.monotonic()
    while presence.unreachable([process]):
        if timeout and time.monotonic() - began > timeout:
            raise ClusterError(f"{process} has not come within {timeout:g} seconds (--session_timeout).")
        time.sleep(presence.WATCH_SECONDS)


def _why_not_connected(error: Exception) -> str:
    """Return in words why a process cannot be reached; asyncio joins the errors of several addresses in one text."""
    if isinstance(error, asyncio.TimeoutError):
        return "its machine does not answer"
    numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    if numbers == {errno.ECONNREFUSED}:
        return "nobody listens there"
    others = [os.strerror(number) for number in sorted(numbers - {errno.ECONNREFUSED})]
    return ", ".join(others) or getattr(error, "strerror", None) or str(error)


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    """Return a line, or the first four bytes of TensorFlow's server, which sends no lines."""
    head = await reader.readexactly(4)
    return head if head.endswith(SETTINGS_FRAME) else head + await reader.readline()


@define(eq=False)
class _Peer:
    """The state of a peer; each of its starts has another seal.

    Attributes:
        process: the process.
        found: the result of the last dial, in words.
        reached: its seal at the last dial; None if that failed.
        told: its seal when it last answered that it has heard our *ready*.
        ready: its seal when its *ready* was last heard.
        running: whether TensorFlow's server answers at its address.
        in_doubt: whether somebody has called in its name since the last dial, and had not its key.
        caller_is_stranger: whether the last caller with its job and index was started with other hosts.
    """

    process: Process
    found: str = "not dialled yet"
    reached: str | None = None
    told: str | None = None
    ready: str | None = None
    running: bool = False
    in_doubt: bool = False
    caller_is_stranger: bool = False

    def describe(self) -> str:
        """Return the state in words, for reports while it is missing."""
        return self.found + ("; one that was started with other hosts has called" if self.caller_is_stranger else "")


class _Rendezvous:
    """This process's part in the protocol above."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._peers = {(each.job, each.index): _Peer(each) for each in cluster.peers}
        self._digest = digest_of(cluster)
        self._keys = Keys()
        self._pause = max(_PAUSE_SECONDS, len(self._peers) / _DIALS_A_SECOND)

    async def wait(self, timeout: float) -> None:
        """Answer and dial until all peers are met."""
        listeners = self._listen() if self._cluster.listens else []
        accepting = [asyncio.create_task(accept(each, self._answer)) for each in listeners]
        reports = asyncio.create_task(self._report(timeout))
        free = asyncio.Semaphore(MAX_CONNECTIONS)
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
            for task in accepting:
                task.cancel()
            await asyncio.wait(accepting or [reports])
            for listener in listeners:
                listener.close()
        _LOGGER.info("%s: all %d processes are there.", self._cluster.me, len(self._peers) + 1)

    def _listen(self) -> list[socket.socket]:
        me = self._cluster.me
        try:
            return addresses.listen_at(me.host, me.port, peers=[each.host for each in self._cluster.processes])
        except OSError as error:
            raise UsageError(
                f"{me} cannot listen on its port: {addresses.reason(error)}. End what has it, or name another port for "
                "all processes."
            ) from error

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a caller that sends a valid line, and record its state after the answer was sent."""
        try:
            line = parse(await asyncio.wait_for(reader.readline(), ANSWER_SECONDS))
            if line:
                peer = self._peers.get((line.job, line.index))
                is_peer = peer is not None and line.digest == self._digest and peer.reached == seal(line.key)
                key = seal(self._keys.key(line.job, line.index))
                writer.write(self._greeting(key, heard=is_peer and line.ready).encode())
                await writer.drain()
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            return
        finally:
            await close(writer)
        if line and peer:
            peer.caller_is_stranger = line.digest != self._digest
            if is_peer:
                peer.ready = seal(line.key) if line.ready else None
            elif not peer.caller_is_stranger:
                peer.in_doubt = True

    async def _visit(self, peer: _Peer, free: asyncio.Semaphore) -> None:
        """Dial a peer until all are met: even one that was ready may be started again before that."""
        while not self._is_complete():
            if peer.in_doubt or not self._has_met(peer):
                async with free:
                    await self._dial(peer)
            await asyncio.sleep(self._pause)

    async def _dial(self, peer: _Peer) -> None:
        peer.in_doubt = False
        try:
            reader, writer = await connect(peer.process)
        except (OSError, asyncio.TimeoutError) as error:
            peer.reached, peer.running, peer.found = None, False, _why_not_connected(error)
            return
        ready = self._is_ready()
        if not peer.reached:
            peer.found = _SILENT
        try:
            key = self._keys.key(peer.process.job, peer.process.index)
            writer.write(self._greeting(key).encode())
            heard = await asyncio.wait_for(_read_answer(reader), ANSWER_SECONDS)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            heard = b""
        finally:
            await close(writer)
        self._record(peer, heard, said_ready=ready)

    def _record(self, peer: _Peer, heard: bytes, *, said_ready: bool) -> None:
        """Record the result of a dial."""
        peer.running = heard[3:4] == SETTINGS_FRAME
        line = parse(heard)
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
        peer.reached, peer.found = line.key, "it is there, and has not reached all others yet: see what it says"
        if said_ready and line.heard:
            peer.told = line.key
        # What was said and heard in an earlier start of it does not count.
        peer.told = peer.told if peer.told == line.key else None
        peer.ready = peer.ready if peer.ready == line.key else None

    def _greeting(self, key: str, *, heard: bool = False) -> Greeting:
        me = self._cluster.me
        return Greeting(self._digest, me.job, me.index, key, self._is_ready(), heard)

    def _is_ready(self) -> bool:
        """Return whether this process has reached all peers."""
        return all(peer.reached or self._has_met(peer) for peer in self._peers.values())

    def _has_met(self, peer: _Peer) -> bool:
        """Return whether this process needs nothing more from a peer."""
        if self._cluster.idle:
            return bool(peer.reached or peer.running)
        if peer.told is not None and peer.told == peer.ready:
            return True
        return peer.running and self._cluster.uses_parameter_servers

    def _is_complete(self) -> bool:
        """Return whether there is no peer left to wait for."""
        chief = self._peers.get(("worker", 0))
        joins = chief is not None and chief.running and self._has_met(chief)
        return joins or all(map(self._has_met, self._peers.values()))

    async def _report(self, timeout: float) -> None:
        """Log the missing peers, soon and then repeatedly."""
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
        missing = [peer for peer in self._peers.values() if not self._has_met(peer)]
        named = [f"{peer.process} ({peer.describe()})" for peer in missing[:_MAX_NAMED]]
        return ", ".join([*named, *([f"{len(missing) - _MAX_NAMED} more"] if len(missing) > _MAX_NAMED else [])])
