"""Child processes of `mox launch`: start and signals.

The rule to keep: one thread. Only then is it safe to run code between fork and exec, and is no signal sent to the id of
an ended process, which another process may have by then.
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
from typing import TYPE_CHECKING, Final

from mox_core.commands.child_output import Pipe, prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from mox_core.commands.child_output import Screen

    SignalHandler = Callable[[int, FrameType | None], None]


BY_SIGNAL: Final = 128
"""A process that signal n ended has the exit status 128 + n, as in shells."""

_DRAIN: Final = 1.0  # seconds in which processes that an ended one started may still write

_LAST_LINES: Final = 20

_PR_SET_PDEATHSIG: Final = 1


def _bind_to_this_process() -> Callable[[], None] | None:
    """Return a function for the new process, after which Linux kills it when this one dies; None on other systems."""
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415  (it would slow down every `mox` command)

    prctl = ctypes.CDLL(None).prctl  # looked up now: as little as possible is to run between fork and exec
    launcher = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() != launcher:  # the launcher has died in the meantime
            os._exit(BY_SIGNAL + signal.SIGKILL)

    return bind


@contextlib.contextmanager
def signals_to(handler: SignalHandler) -> Iterator[socket.socket]:
    """Call `handler` for SIGINT, SIGTERM and SIGHUP; the socket becomes readable after each, and after SIGCHLD."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    handlers: dict[int, SignalHandler] = {
        number: handler
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN  # as under nohup, or in a background job
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


class ChildProcess:
    """A process of the cluster, with the processes that it has started.

    Attributes:
        name: like 'worker 1'.
        place: its position in the order of start, which chooses its color.
        code: the return code, negative for a signal; None while it runs.
        sweep_at: the time, of `time.monotonic`, at which the processes that it left behind are killed.
        is_swept: whether they are.
        last_lines: the last lines of its output.
        pipes: its outputs that are open.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        place: int,
        environment: Mapping[str, str],
        screens: Mapping[int, Screen],
        patience: float,
    ) -> None:
        self.name = name
        self.place = place
        self.code: int | None = None
        self.sweep_at = math.inf
        self.is_swept = False
        self.last_lines: deque[bytes] = deque(maxlen=_LAST_LINES)
        # In its own session: the terminal sends Ctrl-C to the launcher only, which passes it on.
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
        streams = ((self._popen.stdout, sys.stdout.fileno()), (self._popen.stderr, sys.stderr.fileno()))
        self.pipes = {
            Pipe(
                source,
                to,
                screens[to],
                prefix=prefix(name, place, to),
                last_lines=self.last_lines,
                patience=patience,
            )
            for source, to in streams
            if source
        }

    @property
    def status(self) -> int:
        """The exit status as in shells."""
        code = self.code or 0
        return code if code >= 0 else BY_SIGNAL - code

    @property
    def end(self) -> str:
        """The way it ended, in words."""
        code = self.code or 0
        if code >= 0:
            return f"{self.name} failed with exit code {code}"
        return f"{self.name} was ended by signal {-code} ({signal.strsignal(-code)}), exit code {self.status}"

    def has_just_ended(self) -> bool:
        """Return True at the first call after it has ended, and set `sweep_at`."""
        if self.code is not None or self._popen.poll() is None:
            return False
        self.code = self._popen.returncode
        self.sweep_at = time.monotonic() + _DRAIN
        return True

    def send(self, number: int) -> None:
        """Send a signal; SIGKILL also to the processes that it has started."""
        if self.code is not None:
            return
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)
        else:
            self._popen.send_signal(number)

    def sweep(self) -> None:
        """Kill the processes that are left in its session."""
        self.is_swept = True
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter if all have ended, on macOS
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
