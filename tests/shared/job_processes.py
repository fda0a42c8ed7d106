"""Jobs of mox on this machine whose processes can be killed one by one.

Each process is forked from one that has imported TensorFlow and not used it: it starts in a second.
"""

import contextlib
import os
import signal
import socket
import sys
import time

import mox_core as mox
import mox_core.engine.run  # with all that a run needs, once for all processes
import mox_core.engine.tf_patches.run_scope

PATIENCE = 240
"""Seconds after which a job hangs."""

MOMENT = 0.001
"""Seconds between two looks at a file or a process: of another process there is nothing to wait for."""


class Job:
    """The processes of a job, each with a log. A job of one process has a `worker 0` and no cluster."""

    def __init__(self, folder, train, *, workers=1, ps=0, **flags):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.train, self.processes = folder, train, {}
        addresses = _free_addresses(workers + ps)
        self.flags = dict(flags)
        if ps:
            self.flags["sync_replicas"] = False
        if workers + ps > 1:
            self.flags |= {"worker_hosts": ",".join(addresses[:workers]), "ps_hosts": ",".join(addresses[workers:])}
        for name in [*(f"ps {n}" for n in range(ps)), *(f"worker {n}" for n in range(workers))]:
            self.start(name)

    def start(self, name):
        """Starts a process, for the first time or again."""
        pid = os.fork()
        if pid:
            self.processes[name] = pid
            return
        code = 1
        try:
            out = os.open(self._log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            job, number = name.split()
            if "worker_hosts" in self.flags:
                self.flags |= {"job_name": job, "task_index": int(number)}
            for flag, value in self.flags.items():
                mox.set_flag(flag, value)
            self.train()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:  # noqa: BLE001 (the process ends here)
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(code)

    def log(self, name):
        path = self._log(name)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def until(self, text, name="worker 0", times=1):
        """Waits until the log of a process has a text so many times."""
        if not self.wait_for(lambda: self.log(name).count(text) >= times, name):
            self.kill_all()
            raise TimeoutError(f"{name} never said {text!r}:\n{self.log(name)}")

    def wait_for(self, condition, name="worker 0"):
        """Looks at a condition again and again as long as a process lives; returns whether it came true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end or not self.lives(name):
                return False
            time.sleep(MOMENT)
        return True

    def lives(self, name):
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.processes[name], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def send(self, name, number):
        os.kill(self.processes[name], number)
        if number == signal.SIGKILL:
            os.waitpid(self.processes[name], 0)

    def codes(self):
        """Waits for all, and returns their exit codes."""
        codes, end = {}, time.monotonic() + PATIENCE
        while len(codes) < len(self.processes):
            for name in self.processes.keys() - codes.keys():
                with contextlib.suppress(ChildProcessError):
                    done, status = os.waitpid(self.processes[name], os.WNOHANG)
                    if done:
                        codes[name] = os.waitstatus_to_exitcode(status)
                    continue
                codes[name] = "killed"
            if time.monotonic() > end:
                self.kill_all()
                return codes | dict.fromkeys(self.processes.keys() - codes.keys(), "hangs")
            time.sleep(MOMENT)
        return codes

    def kill_all(self):
        for pid in self.processes.values():
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _log(self, name):
        return self.folder / f"{name}.log"


def _free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses
