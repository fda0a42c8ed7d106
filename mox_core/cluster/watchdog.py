"""A watchdog that kills a process while TensorFlow in it waits for ever for a lost process.

While TensorFlow connects, neither threads of Python nor signal handlers run in its process. So the watchdog is another
process, which lives as long as the block.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from mox_core.cluster import presence
from mox_core.cluster.cluster import Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.cluster.cluster import Cluster


_WATCH_SECONDS = 0.5

_PROGRAM = f"import sys; sys.path[:] = sys.argv[2:]; from {__name__} import main; main(sys.argv[1])"
"""The other process imports what this one would: with `-m`, Python would look in the present folder first."""


@contextlib.contextmanager
def watchdog(cluster: Cluster, seconds: float) -> Iterator[None]:
    """Kill this process if a peer cannot be reached for so many seconds while the block lasts."""
    peers = [(each.job, each.index, each.address) for each in cluster.peers]
    task = json.dumps([os.getpid(), seconds, str(cluster.me), peers])
    command = [sys.executable, "-c", _PROGRAM, task, *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:  # noqa: S603  (our own program)
        try:
            yield
        finally:
            child.kill()


def main(task: str) -> None:
    """Run the other process."""
    pid, seconds, me, peers = json.loads(task)
    _watch(pid, seconds, me, [Process(*each) for each in peers])


def _watch(pid: int, seconds: float, me: str, peers: Sequence[Process]) -> None:
    in_vain, longest = dict.fromkeys(peers, 0.0), _WATCH_SECONDS + 2 * presence.CONNECT_SECONDS
    before = time.monotonic()
    while not select.select([sys.stdin], [], [], _WATCH_SECONDS)[0]:  # stdin closes when the watched process ends
        gone, now = presence.unreachable(peers), time.monotonic()
        look, before = min(now - before, longest), now  # a watchdog that was stopped meanwhile has not looked
        in_vain = {peer: waited + look if peer in gone else 0.0 for peer, waited in in_vain.items()}
        if lost := [peer for peer, waited in in_vain.items() if waited > seconds]:
            names = " and ".join(map(str, lost))
            sys.stderr.write(
                f"{me} waits in vain for {names}: it was there, and for {seconds:g} s nobody has listened at its "
                "address. Ending; see what it has said, and start all processes of the job again.\n"
            )
            os.kill(pid, signal.SIGKILL)
            return
