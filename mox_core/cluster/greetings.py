"""The lines of the rendezvous, and the keys in them, by which a process is told from a stranger.

    mox 2 <digest of hosts and sync_replicas> <job> <index> <key, or its seal> <here | ready> <heard | ->

A process has a key for each peer, new in each of its starts. It is sent to the address of that peer only. What anybody
may see is the seal of a key, from which nobody finds the key.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from mox_core.cluster.cluster import Cluster


LONGEST: Final = 256
"""The bytes of a line, at most."""

_MAGIC: Final = ["mox", "2"]

_FIELDS: Final = 8


def parse(line: bytes) -> Greeting | None:
    """Parse a line; return None for anything else."""
    parts = line.decode("ascii", "replace").split()
    if len(parts) != _FIELDS or parts[:2] != _MAGIC or not parts[4].isdecimal():
        return None
    _, _, digest, job, index, key, state, heard = parts
    return Greeting(digest, job, int(index), key, ready=state == "ready", heard=heard == "heard")


def seal(key: str) -> str:
    """Return the seal of a key."""
    return _hash(key, 32)


def digest_of(cluster: Cluster) -> str:
    """Return a digest of what all processes of a job must have been started with."""
    return _hash(json.dumps([cluster.workers, cluster.ps, cluster.synchronous]), 16)


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@frozen
class Greeting:
    """What one process says to another.

    Attributes:
        digest: that of its job.
        job: its job.
        index: its index in it.
        key: its key for the peer, in a call; the seal of that key, in an answer.
        ready: whether it has reached all others.
        heard: whether it takes the call that it answers for one of a peer that is ready.
    """

    digest: str
    job: str
    index: int
    key: str
    ready: bool
    heard: bool = False

    def encode(self) -> bytes:
        """Return the line."""
        state, heard = "ready" if self.ready else "here", "heard" if self.heard else "-"
        return f"{' '.join(_MAGIC)} {self.digest} {self.job} {self.index} {self.key} {state} {heard}\n".encode()


class Keys:
    """The keys of one start of a process."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(16)

    def key(self, job: str, index: int) -> str:
        """Return the key for a peer."""
        return _hash(f"{self._secret} {job} {index}", 32)
