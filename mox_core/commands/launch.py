"""`mox launch`: a cluster of processes on this machine, to try a distributed job before it runs on several machines.

Each process runs the script with the flags of a distributed job before the script's own arguments: flags after an
argument without dashes would not be parsed. `TF_CONFIG` is removed from their environment: the flags name the cluster.

One thread waits for output, for ends of processes and for signals. Signals are passed on at once, in the handler, so
that a terminal that blocks output cannot delay them.

No process is left behind: processes that one has started, in its session, are killed a second after its end. When the
launcher is killed with SIGKILL, Linux kills the processes with it, but not those that they started; other systems leave
all of them running.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mox_core.commands.child_output import screens, write_all
from mox_core.commands.child_processes import BY_SIGNAL, ChildProcess, signals_to
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from mox_core.commands.child_output import Pipe


_HOST: Final = "127.0.0.1"

_GRACE: Final = 10.0  # seconds between SIGTERM and SIGKILL: enough to save a checkpoint that is not huge

_FAREWELL: Final = 5.0  # seconds in which ps processes may exit by themselves

_ECHO: Final = 0.5  # seconds in which a second signal counts as the first one: `timeout` sends each twice

_PATIENCE: Final = 0.5  # seconds for which the begin of a line waits for its end

_CLUSTER_FLAGS: Final = ("job_name", "task_index", "worker_hosts", "ps_hosts", "num_gpus")


def main(arguments: list[str]) -> int:
    """Run `mox launch ...` and return the exit status: 0, or that of the process that failed first.

    Raises:
        UsageError: if the script is not a file, a number is too low, or a flag of the cluster is among the script's
            arguments.
    """
    options = _parser().parse_args(arguments)
    _check_options(options)
    return _Cluster(_plan(options)).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mox launch",
        usage="mox launch [-h] [--workers N] [--ps N] [--replicas N] script.py [argument ...]",
        description=(
            "Start a cluster of processes on this machine. Each runs script.py with the flags that make it a part, "
            "--job_name, --task_index, --worker_hosts and --ps_hosts, before the script's own arguments: a script has "
            "to find those by their names, not by their places. Their output is shown with their names in front. When "
            "one fails, the others are ended, and the exit status is that of the failed one. Ctrl-C is passed on to "
            "all, a second one kills them."
        ),
        allow_abbrev=False,
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="number of worker processes (default: 1)")
    parser.add_argument("--ps", type=int, default=0, metavar="N", help="number of parameter servers (default: 0)")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="num_gpus of each worker (default: 1)")
    parser.add_argument("script", metavar="script.py", help="what each process runs")
    rest = parser.add_argument(
        "rest",
        nargs=argparse.REMAINDER,
        metavar="argument",
        help="the script's own arguments: all that stands behind script.py",
    )
    rest.required = False  # it is named as missing otherwise, before Python 3.13
    return parser


def _check_options(options: argparse.Namespace) -> None:
    for name, lowest in (("workers", 1), ("ps", 0), ("replicas", 1)):
        value = getattr(options, name)
        if value < lowest:
            raise UsageError(f"--{name} cannot be {value!r}: it is a whole number, {lowest} or more.")
    script = Path(options.script)
    if not script.is_file():
        what = "is no file" if script.exists() else "does not exist"
        raise UsageError(
            f"script {options.script!r} {what}: give the file that each process runs, and its own arguments behind it. "
            "Options of mox launch stand before it."
        )
    for argument in options.rest:
        if argument == "--":
            return
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name in _CLUSTER_FLAGS:
            raise UsageError(
                f"{argument!r} cannot be an argument of the script: mox launch gives --{name} to each process. "
                "Say --workers, --ps and --replicas before the script, or start the processes yourself."
            )


def _plan(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command of each process by its name, in the order of start."""
    ports = _find_free_ports(options.ps + options.workers)
    hosts = {
        "ps": [f"{_HOST}:{port}" for port in ports[: options.ps]],
        "worker": [f"{_HOST}:{port}" for port in ports[options.ps :]],
    }
    shared = [f"--{job}_hosts={','.join(hosts[job])}" for job in ("worker", "ps") if hosts[job]]
    commands = {}
    for job, addresses in hosts.items():
        for index in range(len(addresses)):
            flags = [f"--job_name={job}", f"--task_index={index}", *shared] if len(ports) > 1 else []
            if job == "worker" and options.replicas > 1:
                flags.append(f"--num_gpus={options.replicas}")
            commands[f"{job} {index}"] = [sys.executable, options.script, *flags, *options.rest]
    return commands


def _find_free_ports(count: int) -> list[int]:
    """Return different free ports; another program may still take one before its process does."""
    with contextlib.ExitStack() as stack:
        # All are open at the same time, so that none is found twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((_HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def _environment() -> dict[str, str]:
    """Return the environment of the processes: output without buffers, no TF_CONFIG, and no proxy between them."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    environment["PYTHONUNBUFFERED"] = "1"
    # Libraries read either spelling, and the first one that they find hides the other.
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")).split(",")
    hosts = dict.fromkeys(filter(None, [*map(str.strip, given), _HOST]))
    if "*" not in hosts:  # alone it means every host; in a list it has no meaning
        environment["no_proxy"] = environment["NO_PROXY"] = ",".join(hosts)
    return environment


class _Cluster:
    """All processes, and the reactions to the end of one and to signals."""

    def __init__(self, commands: Mapping[str, list[str]]) -> None:
        self._commands = commands
        self._processes: list[ChildProcess] = []
        self._selector = selectors.DefaultSelector()
        self._screens = screens([sys.stdout.fileno(), sys.stderr.fileno()])
        self._received: list[int] = []
        self._received_at = -math.inf
        self._is_started = False
        self._is_announced = False
        self._failed: ChildProcess | None = None
        self._is_dismissed = False
        """Whether the remaining processes were sent a signal to end, so that their exit codes do not count."""
        self._dismiss_at = math.inf
        self._kill_at = math.inf
        self._write_error: OSError | None = None

    def run(self) -> int:
        """Start all processes, wait for them, and return the exit status of the job."""
        with self._selector, signals_to(self._receive) as wakeups:
            self._selector.register(wakeups, selectors.EVENT_READ)
            try:
                self._start()
                while not all(process.is_swept for process in self._processes):
                    self._wait(wakeups)
                    for process in filter(ChildProcess.has_just_ended, self._processes):
                        self._consider(process)
                    self._keep_time()
            finally:
                for process in self._processes:
                    if not process.is_swept:
                        process.sweep()
        return self._conclude()

    def _start(self) -> None:
        environment = _environment()
        for place, (name, command) in enumerate(self._commands.items()):
            process = ChildProcess(
                name, command, place=place, environment=environment, screens=self._screens, patience=_PATIENCE
            )
            self._processes.append(process)
            for pipe in process.pipes:
                self._selector.register(pipe.source, selectors.EVENT_READ, pipe)
        self._is_started = True
        if self._received:
            self._pass_on()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now < self._received_at + _ECHO:
            return
        self._received.append(number)
        self._received_at = now
        if self._is_started:
            self._pass_on()

    def _pass_on(self) -> None:
        # SIGHUP, of a closed terminal, is passed on as SIGTERM, which more scripts handle.
        first = signal.SIGTERM if self._received[0] == signal.SIGHUP else self._received[0]
        self._send(first if len(self._received) == 1 else signal.SIGKILL)

    def _send(self, number: int) -> None:
        for process in self._processes:
            process.send(number)

    def _wait(self, wakeups: socket.socket) -> None:
        """Wait for output, an end of a process, a signal, or the next deadline; pass output on."""
        sweeps = [process.sweep_at for process in self._processes if not process.is_swept]
        lines = [pipe.due for process in self._processes for pipe in process.pipes]
        due = min(self._dismiss_at, self._kill_at, *sweeps, *lines)
        for key, _ in self._selector.select(None if due == math.inf else max(0.0, due - time.monotonic())):
            if key.data is None:
                wakeups.recv(4096)
            else:
                self._relay(key.data)
        if self._received and not self._is_announced:
            self._is_announced = True
            name = signal.Signals(self._received[0]).name
            self._say(f"{name}: waiting for the processes to end; a second one kills them.")

    def _relay(self, pipe: Pipe) -> None:
        data = pipe.read()
        if data is None:
            self._close(pipe)
        else:
            self._write(pipe.target, data)

    def _close(self, pipe: Pipe) -> None:
        self._selector.unregister(pipe.source)
        for process in self._processes:
            process.pipes.discard(pipe)
        self._write(pipe.target, pipe.finish())

    def _consider(self, ended: ChildProcess) -> None:
        """Record the end of a process: a failure ends the others, the last worker the ps processes."""
        if ended.code and not self._failed and not self._is_dismissed:
            self._failed = ended
            if not self._received:  # else all have got the signal, and may take their time
                if any(process.code is None for process in self._processes):
                    self._say(f"{ended.end}; ending the others.")
                self._end_all()
        is_last = all(process.code is not None for process in self._processes if process.name.startswith("worker"))
        if is_last and math.inf == self._dismiss_at == self._kill_at:
            self._dismiss_at = time.monotonic() + _FAREWELL

    def _end_all(self) -> None:
        self._dismiss_at = math.inf
        if self._kill_at == math.inf:
            self._kill_at = time.monotonic() + _GRACE
            self._send(signal.SIGTERM)

    def _keep_time(self) -> None:
        """Act on the deadlines that have passed."""
        now = time.monotonic()
        if now >= self._dismiss_at:
            self._is_dismissed = True
            self._end_all()
        if now >= self._kill_at:
            self._kill_at = math.inf
            self._send(signal.SIGKILL)
        for pipe in [pipe for process in self._processes for pipe in process.pipes if now >= pipe.due]:
            self._write(pipe.target, pipe.overdue())
        for process in self._processes:
            if process.code is not None and not process.is_swept and (not process.pipes or now >= process.sweep_at):
                process.sweep()
                for pipe in list(process.pipes):
                    self._close(pipe)

    def _say(self, text: str) -> None:
        target = sys.stderr.fileno()
        self._write(target, self._screens[target].break_off() + f"mox launch: {text}\n".encode())

    def _write(self, target: int, data: bytes) -> None:
        if self._write_error:
            return
        try:
            write_all(target, data)
        except OSError as error:  # the reader has closed the pipe, or the disk is full
            self._write_error = error
            if not self._received:
                self._is_dismissed = True
                self._end_all()

    def _conclude(self) -> int:
        if self._write_error and not self._received:
            raise self._write_error
        if not self._failed:
            return 0
        is_obedient = self._received and self._failed.status > BY_SIGNAL  # ended by the signal that was passed on
        if not is_obedient:
            self._repeat_last_lines(self._failed)
        return self._failed.status

    def _repeat_last_lines(self, failed: ChildProcess) -> None:
        """Say how a process failed, and its last lines where they are not in sight: far above, or in another file."""
        target = sys.stderr.fileno()
        if not failed.last_lines:
            self._say(f"{failed.end}. It printed nothing.")
        elif self._screens[target].shows(failed.last_lines):
            self._say(f"{failed.end}.")
        else:
            self._say(f"{failed.end}. Its last lines:")
            self._write(target, b"".join(b"  " + line + b"\n" for line in failed.last_lines))
