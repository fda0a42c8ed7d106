"""Processes that find each other: real sockets, and real processes where one is ended."""

import contextlib
import errno
import hashlib
import re
import signal
import socket
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

import mox_core as mox
from mox_core.cluster import addresses, presence, rendezvous
from mox_core.cluster.cluster import Cluster, _is_local
from mox_core.cluster.presence import unreachable, wait_until_gone
from mox_core.cluster.rendezvous import wait_for_peers

LONG = 60
SEAL = hashlib.sha256(b"t1").hexdigest()[:32]
"""What the peers made by hand have for the seal of their key, `t1`."""
SETTINGS = bytes.fromhex("000006 04 00 00000000 000400400000")
"""An HTTP/2 frame as RFC 9113 (6.5) describes it: 6 bytes long, type 4, and one setting."""


pytestmark = pytest.mark.usefixtures("no_server_of_tensorflow")


def free_addresses(count):
    """Return addresses of this machine whose ports were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)


def members(workers, ps=0, *, synchronous=True):
    """Return the cluster of a job as each of its processes sees it."""
    hosts = free_addresses(workers + ps)
    jobs = [("worker", i) for i in range(workers)] + [("ps", i) for i in range(ps)]
    return [
        Cluster(workers=hosts[:workers], ps=hosts[workers:], job=job, index=index, synchronous=synchronous)
        for job, index in jobs
    ]


class Peer:
    """A peer made by hand, of sockets only, at the address of a process."""

    def __init__(self, process):
        self._process = process
        self._server = socket.create_server((process.host, process.port))
        self._server.settimeout(LONG)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.close()

    def accepts(self):
        """Let one connection come."""
        self._server.accept()[0].close()

    def answers_until(self, end, answer, first):
        """Answer every dial until `end`, a future, is done."""
        self._server.settimeout(0.5)
        while not end.done():
            with contextlib.suppress(TimeoutError, ConnectionError):
                self.is_dialled(answer, first=first)

    def is_dialled(self, answer="", *, first=b""):
        """Let one dial come, answer it, and return the parts of the line that it brought."""
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(LONG)
            connection.sendall(first)
            line = connection.makefile("rb").readline().decode()
            parts = line.split()
            me = f"{self._process.job} {self._process.index}"
            if answer:
                connection.sendall(answer.format(digest=parts[2], me=me, seal=SEAL).encode())
        return parts


def dial(process, line):
    """Say a line to a process and return the parts of its answer."""
    with socket.create_connection((process.host, process.port), LONG) as connection:
        connection.sendall(line.encode())
        return connection.makefile("rb").readline().decode().split()


@pytest.mark.parametrize(("workers", "ps", "synchronous"), [(2, 0, True), (5, 0, True), (2, 2, False), (2, 0, False)])
def test_processes_of_a_job_find_each_other(pool, workers, ps, synchronous):
    waits = [pool.submit(wait_for_peers, each, LONG) for each in members(workers, ps, synchronous=synchronous)]
    for wait in waits:
        wait.result(LONG)


def test_workers_that_step_together_do_not_wait_for_ps(pool):
    waits = [pool.submit(wait_for_peers, each, LONG) for each in members(2, 1)[:2]]
    for wait in waits:
        wait.result(LONG)


@pytest.mark.parametrize(("answer", "first"), [("mox 2 {digest} {me} {seal} here heard\n", b""), ("", SETTINGS)])
def test_a_ps_of_workers_that_step_together_needs_only_the_chief_and_leaves_with_it(pool, answer, first):
    chief, _, ps = members(2, 1)
    with Peer(chief.me) as peer:
        wait = pool.submit(wait_for_peers, ps, LONG)
        peer.is_dialled(answer, first=first)
        wait.result(LONG)
        stays = pool.submit(wait_until_gone, chief.me, has_run=True)
        peer.accepts()
        assert not stays.done()
    stays.result(LONG)


def test_the_lines_are_those_of_the_protocol_and_nobody_goes_on_before_all_are_ready(pool):
    chief, other = members(2)
    with Peer(other.me) as peer:
        wait = pool.submit(wait_for_peers, chief, 0)
        magic, version, digest, job, index, key, *state = peer.is_dialled("mox 2 {digest} {me} {seal} here -\n")
        assert (magic, version, job, index, *state) == ("mox", "2", "worker", "0", "here", "-")
        ready = peer.is_dialled("mox 2 {digest} {me} {seal} here -\n")
        assert ready == ["mox", "2", digest, "worker", "0", key, "ready", "-"]
        assert peer.is_dialled("mox 2 {digest} {me} {seal} here heard\n")[-2] == "ready"  # again: it was not heard
        assert not wait.done()
        answer = ["mox", "2", digest, "worker", "0", hashlib.sha256(key.encode()).hexdigest()[:32], "ready"]
        assert dial(chief.me, f"mox 2 {digest} worker 1 t1 here -\n") == [*answer, "-"]
        assert peer.is_dialled("mox 2 {digest} {me} {seal} here heard\n")[-2] == "ready"
        assert not wait.done()
        assert dial(chief.me, f"mox 2 {digest} worker 1 t1 ready -\n") == [*answer, "heard"]
        wait.result(LONG)
    with addresses.listen(chief.me.port):  # the port is free for TensorFlow
        pass


def test_one_that_comes_late_is_waited_for(pool):
    chief, late = members(2)
    with Peer(late.me) as peer:
        wait = pool.submit(wait_for_peers, chief, LONG)
        peer.is_dialled()
    assert not wait.done()
    wait_for_peers(late, LONG)
    wait.result(LONG)


def test_one_that_dies_between_here_and_ready_is_waited_for_until_it_is_started_again(pool):
    chief, other = members(2)
    with Peer(other.me) as peer:
        wait = pool.submit(wait_for_peers, chief, LONG)
        while peer.is_dialled("mox 2 {digest} {me} {seal} here heard\n")[-2] != "ready":
            pass
    assert not wait.done()
    wait_for_peers(other, LONG)
    wait.result(LONG)


def test_one_that_was_ready_and_is_started_again_before_the_third_is_there_begins_anew(pool):
    chief, other, third = members(3)
    with Peer(other.me) as first, Peer(third.me) as silent:
        wait = pool.submit(wait_for_peers, chief, LONG)
        digest = first.is_dialled("mox 2 {digest} {me} {seal} here heard\n")[2]
        silent.is_dialled()
        assert dial(chief.me, f"mox 2 {digest} worker 1 t1 ready -\n")[-1] == "heard"
    waits = [wait, pool.submit(wait_for_peers, other, LONG)]
    wait_for_peers(third, LONG)
    for each in waits:
        each.result(LONG)


def test_who_never_comes_is_named_in_the_error():
    chief, *others = members(3)
    with pytest.raises(mox.ClusterError) as missing:
        wait_for_peers(chief, 1)
    assert str(missing.value) == (
        f"{chief.me} has waited 1 s in vain for worker 1 at {others[0].address} (nobody listens there), "
        f"worker 2 at {others[1].address} (nobody listens there). Start what is missing, correct the hosts, or give "
        "more time with --session_timeout=SECONDS (0: without end)."
    )


def test_a_name_that_nobody_knows_is_said_and_waited_for():
    hosts = (*free_addresses(1), "no-such-host.invalid:2222")
    with pytest.raises(socket.gaierror) as unknown:
        socket.getaddrinfo("no-such-host.invalid", 2222)
    with pytest.raises(mox.ClusterError, match=rf"worker 1 at no-such-host\.invalid:2222 \({unknown.value.strerror}\)"):
        wait_for_peers(Cluster(workers=hosts, ps=(), job="worker", index=0, synchronous=True), 1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "nobody listens there"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed"),
            "nobody lis",
        ),
        (
            OSError("Multiple exceptions: [Errno 101] Connect call failed, [Errno 111] Connect call failed"),
            "Network is",
        ),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.9', 1)"), "No route to host"),
        (TimeoutError(), "its machine does not answer"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="errors have other numbers and words elsewhere")
def test_why_a_machine_cannot_be_reached(error, said):
    assert rendezvous._why_not_connected(error).startswith(said)


def test_processes_find_each_other_over_ipv6(pool):
    if not _is_local("::1"):
        pytest.skip("this machine has no IPv6")
    hosts = tuple(each.replace("127.0.0.1", "[::1]") for each in free_addresses(2))
    jobs = [Cluster(workers=hosts, ps=(), job="worker", index=index, synchronous=True) for index in range(2)]
    for wait in [pool.submit(wait_for_peers, each, LONG) for each in jobs]:
        wait.result(LONG)


def test_of_many_missing_processes_a_few_are_named():
    hosts = free_addresses(1) + tuple(f"127.0.0.2:{port}" for port in range(1, 12))
    with pytest.raises(mox.ClusterError, match=r" worker 8 at 127\.0\.0\.2:8 \(nobody listens there\), 3 more\. Start"):
        wait_for_peers(Cluster(workers=hosts, ps=(), job="worker", index=0, synchronous=True), 1)


@pytest.mark.parametrize(
    ("answer", "first", "seen"),
    [
        ("HTTP/1.0 400 no\r\n", b"", r"another program answers there, b'HTTP/1\.0 400 no"),
        ("mox 1 {digest} {me} t1 here\n", b"", "another program answers there, b'mox 1 "),
        ("", b"", "it is reached and does not answer: it is in another run, or another program has the port"),
        ("", SETTINGS, "TensorFlow's server answers there: it is in a run already"),
    ],
)
def test_what_a_wrong_peer_answers_is_said(pool, answer, first, seen):
    chief, other = members(2)
    with Peer(other.me) as peer:
        wait = pool.submit(wait_for_peers, chief, 1)
        peer.answers_until(wait, answer, first)
        with pytest.raises(mox.ClusterError, match=rf"in vain for worker 1 at [\d.:]+ \({seen}"):
            wait.result(LONG)


def test_a_process_with_other_hosts_is_an_error_at_once(pool):
    chief, other = members(2)
    stranger = Cluster(workers=(*free_addresses(1), other.address), ps=(), job="worker", index=1, synchronous=True)
    wait = pool.submit(wait_for_peers, stranger, 2)
    said = f"^worker 1 at {other.address} was started with other hosts than this process, worker 0 at .*: give all"
    with pytest.raises(mox.ClusterError, match=said):
        wait_for_peers(chief, 0)
    with pytest.raises(
        mox.ClusterError, match=r"\(nobody listens there; one that was started with other hosts has called"
    ):
        wait.result(LONG)


def test_two_addresses_of_one_process_are_an_error_at_once():
    address = free_addresses(1)[0]
    hosts = (address, address.replace("127.0.0.1", "localhost"))
    with pytest.raises(mox.ClusterError, match=rf"^at the address of worker 1 at {hosts[1]} worker 0 answers\. Each"):
        wait_for_peers(Cluster(workers=hosts, ps=(), job="worker", index=0, synchronous=True), 0)


def test_a_worker_that_comes_again_joins_workers_that_do_not_step_together(pool):
    chief, worker, _, _ = members(2, 2, synchronous=False)
    with Peer(chief.me) as peer:
        wait = pool.submit(wait_for_peers, worker, LONG)
        peer.answers_until(wait, "", SETTINGS)
        wait.result()


def test_a_chief_that_comes_again_needs_all_but_not_their_greetings(pool):
    chief, worker, ps = members(2, 1, synchronous=False)
    with Peer(worker.me) as in_the_run:
        wait = pool.submit(wait_for_peers, chief, 2)
        in_the_run.answers_until(wait, "", SETTINGS)
        with pytest.raises(
            mox.ClusterError, match=rf"in vain for ps 0 at {ps.address} \(nobody listens there\)\. Start"
        ):
            wait.result(LONG)


def test_a_port_that_is_taken_meanwhile_is_refused():
    chief, _ = members(2)
    with addresses.listen(chief.me.port), pytest.raises(mox.UsageError) as refusal:
        wait_for_peers(chief, 0)
    assert str(refusal.value) == (
        f"{chief.me} cannot listen on its port: it is in use. End what has it, or name another port for all processes."
    )


def test_a_second_run_in_a_process_waits_for_nobody(pool):
    chief, other = members(2)
    pool.submit(wait_for_peers, other, LONG)
    wait_for_peers(chief, LONG)
    with addresses.listen(chief.me.port):  # as TensorFlow's server does
        assert addresses.why_not_free(chief.me.port) is None
        wait_for_peers(chief, 1)


def test_a_worker_alone_waits_for_nobody():
    wait_for_peers(members(1)[0], 1)


def test_who_has_gone_is_told_from_who_has_not():
    chief, *others = members(3)
    with addresses.listen(others[0].me.port):
        assert unreachable([chief.me, *(each.me for each in others)]) == [chief.me, others[1].me]


def test_time_in_which_nobody_looks_makes_nobody_gone(monkeypatch):
    chief = members(2)[0].me
    now, pauses = [0], []

    def stopped_for_long(seconds):
        pauses.append(seconds)
        now[0] += 1000
        if len(pauses) == 3:
            server.close()

    monkeypatch.setattr(presence, "time", SimpleNamespace(sleep=stopped_for_long, monotonic=lambda: now[0]))
    with socket.create_server((chief.host, chief.port)) as server:
        wait_until_gone(chief, has_run=True)
    assert len(pauses) == 3 + 4  # looks that found it, and looks in vain


def test_a_chief_whose_server_has_not_run_yet_may_be_away_for_longer(pool, monkeypatch):
    chief, pauses = members(2)[0].me, []
    monkeypatch.setattr(presence, "time", SimpleNamespace(sleep=pauses.append))
    wait_until_gone(chief)
    assert len(pauses) == 30
    pauses.clear()
    with Peer(chief) as peer:
        answer = pool.submit(peer.is_dialled, first=SETTINGS)

        def ends(seconds):
            pauses.append(seconds)
            answer.result(LONG)
            peer.__exit__()

        monkeypatch.setattr(presence, "time", SimpleNamespace(sleep=ends))
        wait_until_gone(chief)
    assert len(pauses) == 1 + 4  # the look that found it, and looks in vain


WAITING = """
    import logging, sys
    from mox_core.cluster.cluster import Cluster
    from mox_core.cluster.rendezvous import wait_for_peers
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    hosts = tuple(sys.argv[2:])
    wait_for_peers(Cluster(workers=hosts, ps=(), job="worker", index=int(sys.argv[1]), synchronous=True), 100)
"""


@pytest.fixture
def start():
    """Return a function that starts a process of a job and gives it; those that are left are ended."""
    with contextlib.ExitStack() as stack:

        def started(index, hosts):
            command = [sys.executable, "-u", "-W", "error", "-c", textwrap.dedent(WAITING), str(index), *hosts]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process

        yield started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_waited_for_is_said_within_seconds_and_a_signal_ends_the_wait(start, number):
    hosts = free_addresses(2)
    process = start(0, hosts)
    said = rf"worker 0 at {hosts[0]} has waited \d+ s, since [\d:]+, for worker 1 at {hosts[1]} \(nobody listens "
    assert re.match(said + r"there\)\. It gives up after 100 s \(--session_timeout\)\.$", process.stdout.readline())
    process.send_signal(number)
    assert process.wait(LONG) == -number


def test_a_process_that_is_killed_while_it_waits_and_started_again_is_found(start):
    hosts = free_addresses(3)
    processes = [start(0, hosts), start(1, hosts)]
    processes[1].stdout.readline()  # it has waited for three seconds, and has met the first
    processes[1].kill()
    processes[1].wait(LONG)
    processes[1:] = [start(1, hosts), start(2, hosts)]
    for process in processes:
        assert process.communicate(timeout=LONG)[0].endswith("all 3 processes are there.\n")
        assert process.returncode == 0


def test_sigterm_ends_a_ps_that_has_nothing_to_do():
    job = members(2, 1)[-1]
    program = f"""
from mox_core.cluster import rendezvous
from mox_core.cluster.cluster import Cluster

rendezvous.leave_with_chief(Cluster(workers={job.workers}, ps={job.ps}, job="ps", index=0, synchronous=True), 0)
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == 0
    assert "ps 0 at" in said
    assert "has nothing to do, workers that step together share no weights: it leaves with worker 0." in said


def test_a_controller_comes_before_or_after_the_chief_and_leaves_with_it():
    hosts = free_addresses(2)
    cluster = Cluster(workers=tuple(hosts), ps=(), job="controller", index=0, synchronous=True)
    program = f"""
from mox_core.cluster import presence, rendezvous
from mox_core.cluster.cluster import Cluster
presence._LOOKS_BEFORE_IT_RUNS = 2
rendezvous.leave_with_chief({cluster!r}, 100)
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.readline()
        with socket.create_server(("127.0.0.1", int(hosts[0].rpartition(":")[2]))) as chief:
            chief.settimeout(LONG)
            for _ in range(2):  # it has found the chief, and watches it
                chief.accept()[0].close()
            assert process.poll() is None
        assert process.wait(LONG) == 0
    assert "controller has nothing to do, the workers lead themselves: it leaves with worker 0." in said
