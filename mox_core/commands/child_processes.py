"""Processes that are started together, their output, and the signals that come for them. `mox launch` is made of these.

The rule to keep: one thread. Only then is it safe to run something between fork and exec, and is no signal sent to the
number of a process that has ended and may be another's by now.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    SignalHandler = Callable[[int, FrameType | None], None]


BY_SIGNAL: Final = 128
"""Exit statuses above are those of processes that a signal ended, as shells have it."""

_DRAIN: Final = 1.0  # seconds in which what a process left behind may still write

_LAST_LINES: Final = 20

_CHUNK: Final = 65536  # all that a pipe holds: nothing of a process that has ended stays unread

_PR_SET_PDEATHSIG: Final = 1


def _bind_to_this_process() -> Callable[[], None] | None:
    """Return what a new process does first, so that Linux kills it when this one dies; elsewhere None."""
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415  (every `mox` command would wait for it)

    prctl = ctypes.CDLL(None).prctl  # looked up now: between fork and exec there should be as little as possible
    launcher = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() != launcher:  # it died in between
            os._exit(BY_SIGNAL + signal.SIGKILL)

    return bind


@contextlib.contextmanager
def signals_to(handler: SignalHandler) -> Iterator[socket.socket]:
    """Send SIGINT, SIGTERM and SIGHUP to `handler`; the socket has something to read after each, and after SIGCHLD."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    handlers: dict[int, SignalHandler] = {
        number: handler
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN  # nohup, or a job with `&`
    }
    handlers[signal.SIGCHLD] = lambda _number, _frame: None
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        old_handlers = {number: signal.signal(number, function) for number, function in handlers.items()}
        try:
            yield reader
        finally:
            for number, old_handler in old_handlers.items():
                signal.signal(number, old_handler)
            signal.set_wakeup_fd(old_fd)


def write_all(fd: int, data: bytes) -> None:
    """Write without a buffer, of which a part would be left when the reader has gone."""
    while data:
        data = data[os.write(fd, data) :]


class Pipe:
    """An output of a process, on its way to the same output of the launcher."""

    def __init__(self, source: IO[bytes], target: int, process: ChildProcess) -> None:
        self.source = source
        self.target = target
        self._process = process
        name = f"{process.name} | "
        color = 31 + (process.place + 5) % 6
        self._prefix = (f"\033[{color}m{name}\033[0m" if os.isatty(target) else name).encode()
        self._rest = b""

    def read(self) -> bytes | None:
        """Return the lines that are whole now, each with the name in front; None at the end."""
        data = os.read(self.source.fileno(), _CHUNK)
        return self._split(data) if data else None

    def finish(self) -> bytes:
        """Close the pipe and return the line that had no end."""
        self.source.close()
        self._process.pipes.discard(self)
        return self._split(b"\n") if self._rest else b""

    def _split(self, data: bytes) -> bytes:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._process.last_lines.extend(lines)
        return b"".join(self._prefix + line + b"\n" for line in lines)


class ChildProcess:
    """A process of the cluster, from its start until nothing of it is left."""

    def __init__(self, name: str, command: Sequence[str], *, place: int, environment: Mapping[str, str]) -> None:
        self.name = name
        self.place = place
        self.code: int | None = None
        self.sweep_at = math.inf
        self.is_swept = False
        self.last_lines: deque[bytes] = deque(maxlen=_LAST_LINES)
        # A session of its own: the terminal sends Ctrl-C to the launcher only, which passes it on.
        self._popen = subprocess.Popen(  # noqa: S603  (the user's own script)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,
            preexec_fn=_bind_to_this_process(),  # noqa: PLW1509  (the launcher has one thread)
        )
        streams = ((self._popen.stdout, sys.stdout), (self._popen.stderr, sys.stderr))
        self.pipes = {Pipe(source, target.fileno(), self) for source, target in streams if source}

    @property
    def status(self) -> int:
        """The exit status as shells have it."""
        code = self.code or 0
        return code if code >= 0 else BY_SIGNAL - code

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self.code or 0
        if code >= 0:
            return f"{self.name} failed with exit code {code}"
        return f"{self.name} was ended by signal {-code} ({signal.strsignal(-code)}), exit code {self.status}"

    def has_just_ended(self) -> bool:
        """Look whether it has ended, and note when what it left must be gone."""
        if self.code is not None or self._popen.poll() is None:
            return False
        self.code = self._popen.returncode
        self.sweep_at = time.monotonic() + _DRAIN
        return True

    def send(self, number: int) -> None:
        """Send a signal; SIGKILL also to all that it started."""
        if self.code is not None:
            return
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)
        else:
            self._popen.send_signal(number)

    def sweep(self) -> None:
        """Kill what is left of it."""
        self.is_swept = True
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter for ended ones, on macOS
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
