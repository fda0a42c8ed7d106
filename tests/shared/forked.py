"""Processes of Python that have imported TensorFlow when they start: `run` and `Popen`, as `subprocess` has them.

TensorFlow takes four seconds to import, and the same again when it is taken down. Here, a server (`fork_server.py`) has
imported it and done nothing with it, and each process is a fork of it: with a command line, folder, environment and
streams of its own, with a new `__main__`, in which nothing of mox is imported yet. It is a child of the process that
asks, so that all of `subprocess.Popen` works as ever, and it ends as Python ends.

What is only read while TensorFlow is imported, or when Python starts (`AT_START`, and options like `-W error`), is the
same for all processes of a server: there is a server for each such setting, started when it is first asked for. Tests
of how a process starts, or of what it imports, use `subprocess`.
"""

import atexit
import contextlib
import ctypes
import functools
import inspect
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from subprocess import DEVNULL, PIPE, CalledProcessError, CompletedProcess, TimeoutExpired

__all__ = ["DEVNULL", "PIPE", "CalledProcessError", "CompletedProcess", "Popen", "TimeoutExpired", "run"]

AT_START = ("PYTHON", "TF_", "KERAS_", "CUDA_", "XLA_", "OMP_", "OPENBLAS_", "MKL_", "LD_", "LANG", "LC_", "HOME")
"""What the names of environment variables begin with that are read once and for all."""

READ_LATER = {"PYTHONPATH", "TF_CONFIG"}

PR_SET_CHILD_SUBREAPER = 36


def run(command, *, input=None, capture_output=False, check=False, timeout=None, **options):  # noqa: A002 (its name there)
    """Does what `subprocess.run` does."""
    if input is not None:
        options["stdin"] = PIPE
    if capture_output:
        options |= {"stdout": PIPE, "stderr": PIPE}
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = CompletedProcess(command, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


class Popen(subprocess.Popen):
    """A process that is forked from a server; where that is not possible, one like any other."""

    @functools.wraps(subprocess.Popen._execute_child)
    def _execute_child(self, *arguments):
        if sys.platform != "linux":  # elsewhere no process can be handed to another parent
            super()._execute_child(*arguments)
            return
        given = inspect.signature(super()._execute_child).bind(*arguments).arguments
        refused = [name for name in ("preexec_fn", "pass_fds", "shell", "start_new_session") if given[name]]
        assert not refused, f"a forked process knows no {refused}: use subprocess"
        python, *command = (os.fsdecode(each) for each in given["args"])
        assert python == sys.executable, f"{python} is not this Python: use subprocess"
        options, command = _split(command)
        environ = dict(os.environ if given["env"] is None else given["env"])
        request = {"command": command, "cwd": os.path.abspath(given["cwd"] or os.curdir), "environ": environ}  # noqa: PTH100
        streams = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [inherited if stream == -1 else stream for inherited, stream in enumerate(streams)]
        settings = {name: value for name, value in environ.items() if name.startswith(AT_START)}
        settings = tuple(sorted(item for item in settings.items() if item[0] not in READ_LATER))
        self.pid = _server(tuple(options), settings).fork(request, streams)
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in ends))


def _split(command):
    """Parts the options of Python from what it is to run."""
    options = []
    while command[0].startswith("-") and command[0] not in ("-c", "-m"):
        count = 2 if command[0] in ("-W", "-X") else 1
        options += command[:count]
        command = command[count:]
    return options, command


@functools.cache
def _server(options, settings):
    server = Server(options, dict(settings))
    atexit.register(server.close)
    return server


class Server:
    """A process that has imported TensorFlow. It ends with this one, in whichever way, or with `close`."""

    def __init__(self, options, settings):
        path = {name: value for name, value in os.environ.items() if name not in READ_LATER}
        environ = {name: value for name, value in path.items() if not name.startswith(AT_START)} | settings
        self._lock = threading.Lock()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        self._socket, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_end:
            self._process = subprocess.Popen(
                [sys.executable, *options, Path(__file__).with_name("fork_server.py"), str(its_end.fileno())],
                stdin=DEVNULL,
                stdout=self._said,
                stderr=self._said,
                cwd="/",
                env=environ,
                pass_fds=[its_end.fileno()],
            )
        self.pid = self._process.pid

    def fork(self, request, streams):
        """Starts a process; returns its number."""
        with self._lock, _adopting(), contextlib.suppress(ConnectionError):
            socket.send_fds(self._socket, [json.dumps(request).encode()], streams)
            answer = self._socket.recv(100)
            if answer:
                return int(answer)
        self._said.seek(0)
        raise RuntimeError(f"the fork server has ended:\n{self._said.read().decode()}")

    def close(self):
        self._socket.close()
        self._process.wait()
        self._said.close()


@contextlib.contextmanager
def _adopting():
    """Makes this process the parent of those below it that lose theirs, as the server's children do at once."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
