"""The stage on which `mox launch` is tested: real processes that tell the test by a socket what they see, and obey."""

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mox_core.cluster import addresses

PUPPET = """
import json, os, signal, socket, subprocess, sys

link = socket.create_connection(("127.0.0.1", int(sys.argv[-1])))

def tell(**facts):
    link.sendall(json.dumps(facts).encode() + b"\\n")

def report_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: tell(signal=number))

tell(arguments=sys.argv[1:-1], environment=dict(os.environ), stdin=sys.stdin.read(), python=sys.executable)
for order in link.makefile():
    exec(order)
    tell(done=order)
"""

LAUNCHER = """
import json, sys
from mox_core import cli
from mox_core.commands import launch

for name, value in json.loads(sys.argv[1]).items():
    assert hasattr(launch, name)
    setattr(launch, name, value)
sys.exit(cli.main(["launch", *sys.argv[2:]]))
"""


class Puppet:
    """The test's end of the link to a process."""

    def __init__(self, link):
        link.settimeout(60)
        self.link = link
        self.lines = link.makefile()
        self.facts = self.hear()
        flags = dict(flag.split("=") for flag in self.facts["arguments"] if "=" in flag)
        self.name = f"{flags.get('--job_name', 'worker')} {flags.get('--task_index', 0)}"

    def hear(self):
        """Return what it tells next, None when it is no more."""
        try:
            line = self.lines.readline()
        except ConnectionResetError:  # killed before it read all orders
            return None
        return json.loads(line) if line else None

    def order(self, order):
        self.link.sendall(order.encode() + b"\n")

    def do(self, order):
        """Give an order and wait until it is done."""
        self.order(order)
        assert self.hear() == {"done": order + "\n"}

    def close(self):
        self.lines.close()
        self.link.close()

    def exit(self, code=0):
        """Let it end, and make sure that it had nothing else to tell."""
        self.order(f"sys.exit({code})")
        assert self.hear() is None


class Stage:
    """Starts `mox launch` and meets the processes that it starts."""

    def __init__(self, folder):
        self.script = folder / "puppet.py"
        self.script.write_text(PUPPET, encoding="utf-8")
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(60)
        self.port = str(self.server.getsockname()[1])
        self.launchers = []
        self.puppets = []

    def start(self, *options, arguments=(), constants=None, before="", **popen_options):
        command = [sys.executable, "-W", "error", "-c", before + LAUNCHER, json.dumps(constants or {})]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen_options}
        launcher = subprocess.Popen([*command, *options, self.script, *arguments, self.port], **streams)
        self.launchers.append(launcher)
        return launcher

    def meet(self, count):
        """Return the next processes, by name."""
        puppets = [Puppet(self.server.accept()[0]) for _ in range(count)]
        self.puppets += puppets
        return sorted(puppets, key=lambda puppet: puppet.name)

    def end_of(self, launcher):
        """Wait for a launcher; return its exit status and its output."""
        out, err = launcher.communicate(timeout=60)
        return launcher.returncode, (out or b"").decode(), err.decode()

    def close(self):
        for launcher in self.launchers:
            if launcher.poll() is None:
                launcher.kill()
            launcher.communicate()
        for puppet in self.puppets:
            puppet.close()
        self.server.close()


@pytest.fixture(autouse=True)
def _signals_as_on_a_terminal():
    """A job in the background, as CI may be, ignores these, and so would the processes that tests start."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL}
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def no_server_of_tensorflow(monkeypatch):
    """Forgets the ports that other tests have handed over to servers of TensorFlow."""
    monkeypatch.setattr(addresses, "_handed_over", set())


@pytest.fixture
def pool():
    """Gives threads, each of which stands for a process."""
    with ThreadPoolExecutor(8) as threads:
        yield threads
