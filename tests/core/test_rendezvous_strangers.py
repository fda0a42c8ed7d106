"""Strangers who call while processes look for each other: they hold nobody up and fool nobody. Real sockets."""

import contextlib
import hashlib
import json
import resource
import socket
import subprocess
import sys
import textwrap

import pytest

from mox_core.cluster import addresses
from mox_core.cluster.cluster import Cluster
from mox_core.cluster.rendezvous import wait_for_peers

LONG = 60
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  (that is what is tested)


pytestmark = pytest.mark.usefixtures("no_server_of_tensorflow")


def members(workers):
    """Return the cluster of a job as each of its processes sees it."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        hosts = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    return [Cluster(workers=hosts, ps=(), job="worker", index=index, synchronous=True) for index in range(workers)]


def digest(cluster):
    """Return what a stranger can know who knows the hosts."""
    return hashlib.sha256(json.dumps([cluster.workers, [], True]).encode()).hexdigest()[:16]


def call(process, line):
    """Say something to a process and return the parts of what it answers; None if nobody listens there."""
    with contextlib.suppress(ConnectionError), socket.create_connection((process.host, process.port), 5) as connection:
        if connection.getsockname() == connection.getpeername():
            return None  # TCP connects a port that nobody has with itself, once in many times
        connection.settimeout(LONG)
        connection.sendall(line)
        return connection.makefile("rb").readline().decode().split()
    return None


def called(process, line):
    """Call until somebody listens."""
    while (answer := call(process, line)) is None:
        pass
    return answer


def lies(job):
    """Yield what a stranger may say who knows all but the keys; the seal of worker 1 is there to be asked for."""
    known = digest(job[0])
    for index in (1, 2):
        seal = (call(job[1].me, f"mox 2 {known} worker 0 k here -\n".encode()) or ["?"] * 8)[5]
        for key in ("made-up", seal):
            for state in ("ready -", "ready heard", "here -"):
                yield f"mox 2 {known} worker {index} {key} {state}\n".encode()
    yield f"mox 2 {known} worker 7 k ready -\n".encode()
    yield f"mox 2 {known} ps 0 k ready -\n".encode()
    yield f"mox 2 {known} worker {'9' * 200} k ready -\n".encode()
    yield b"mox 2 of-another-job worker 1 k ready heard\n"
    yield b"\x00\xff\x80 \xe2\x85\xa7 not a line of ours\r\n\n"
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_who_says_ready_for_another_is_not_believed_and_does_not_silence_it(pool):
    job = members(3)
    waits = [pool.submit(wait_for_peers, each, LONG) for each in job[:2]]

    def lie_until_all_have_gone_on():
        while not all(wait.done() for wait in waits):
            for lie in lies(job):
                for each in job:
                    call(each.me, lie)

    for _ in range(5):
        for lie in lies(job):
            answer = called(job[0].me, lie)
            assert "heard" not in answer[7:]
    assert not any(wait.done() for wait in waits)  # worker 2 has not come, whoever says so
    liar = pool.submit(lie_until_all_have_gone_on)
    waits.append(pool.submit(wait_for_peers, job[2], LONG))
    for wait in waits:
        wait.result(LONG)
    liar.result(LONG)


def test_the_key_of_a_process_is_not_given_to_who_asks_for_it(pool):
    job = members(2)
    wait = pool.submit(wait_for_peers, job[0], LONG)
    asked = [called(job[0].me, f"mox 2 {digest(job[0])} worker 1 {key} here -\n".encode()) for key in ("a", "b")]
    with socket.create_server((job[1].me.host, job[1].me.port)) as server:
        connection, _ = server.accept()
        with connection:
            key = connection.makefile("rb").readline().decode().split()[5]
    assert asked[0] == asked[1]
    assert asked[0][5] == hashlib.sha256(key.encode()).hexdigest()[:32]
    pool.submit(wait_for_peers, job[1], LONG)
    wait.result(LONG)


def test_a_line_without_an_end_is_not_read_to_its_end(pool):
    job = members(2)
    wait = pool.submit(wait_for_peers, job[0], LONG)
    called(job[0].me, b"\n")
    for _ in range(3):
        assert not call(job[0].me, b"x" * 10_000_000)  # it hangs up: nothing, or a reset
    wait_for_peers(job[1], LONG)
    wait.result(LONG)


WAITING = """
    import sys
    from mox_core.cluster.cluster import Cluster
    from mox_core.cluster.rendezvous import wait_for_peers
    wait_for_peers(Cluster(workers=tuple(sys.argv[1:]), ps=(), job="worker", index=0, synchronous=True), 100)
    print("gone on")
"""


def test_more_silent_callers_than_a_process_may_have_files_hold_nobody_up():
    job = members(2)
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(WAITING), *job[0].workers]

    def allow_few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(command, preexec_fn=allow_few_files, **streams))  # noqa: PLW1509
        stack.callback(process.kill)
        called(job[0].me, b"\n")
        for number in range(800):
            silent = stack.enter_context(socket.create_connection((job[0].me.host, job[0].me.port), LONG))
            if number % 2:
                silent.send(b"mox 2 ")  # slowly
        wait_for_peers(job[1], LONG)
        out, err = process.communicate(timeout=LONG)
    assert out == "gone on\n"
    assert not [line for line in err.splitlines() if " has waited " not in line]


def test_a_job_on_one_machine_listens_to_this_machine_only(pool):
    job = members(2)
    wait = pool.submit(wait_for_peers, job[0], LONG)
    called(job[0].me, b"\n")
    others = [ip for ip in addresses.of_this_machine(["192.0.2.1"]) if ip != "127.0.0.1"]
    for ip in [*others, *(["127.0.0.2"] if sys.platform == "linux" else [])]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((ip, job[0].me.port), 5)
    wait_for_peers(job[1], LONG)
    wait.result(LONG)


@pytest.mark.parametrize(
    ("host", "peer", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", {"127.0.0.1"}),
        ("127.0.0.1", "192.0.2.7", {"127.0.0.1"}),
        ("localhost", "127.0.0.1", {"127.0.0.1", "::1"}),
        ("localhost", "192.0.2.7", EVERYWHERE),
        ("localhost", "no-such-host.invalid", EVERYWHERE),
    ],
)
def test_it_listens_where_the_hosts_say_and_everywhere_where_a_name_says_too_little(host, peer, expected):
    port = members(1)[0].me.port
    sockets = addresses.listen_at(host, port, peers=[host, peer])
    with contextlib.ExitStack() as stack:
        bound = {stack.enter_context(each).getsockname()[0] for each in sockets}
    assert bound
    assert bound <= expected


@pytest.mark.parametrize(
    ("host", "peer", "expected"),
    [
        ("127.0.0.1", "192.0.2.7", "127.0.0.1"),
        ("localhost", "localhost", "127.0.0.1"),
        ("localhost", "192.0.2.7", None),
    ],
)
def test_a_server_that_listens_on_one_address_or_on_all_gets_the_one_that_is_called(host, peer, expected):
    job = Cluster(workers=(f"{host}:1", f"{peer}:2"), ps=(), job="worker", index=0, synchronous=True)
    assert job.server_ip == expected
