"""What flags and TF_CONFIG say of a job, and what is refused before anything hangs."""

import json
import logging
import os
import socket
import sys
import textwrap

import pytest

import forked
import mox_core as mox
from mox_core.cluster import addresses
from mox_core.cluster.cluster import Cluster, _warn_once, read

FOREIGN = "203.0.113.9"
"""An address that RFC 5737 keeps for documents: no machine has it."""


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(addresses, "_handed_over", set())
    _warn_once.cache_clear()


@pytest.fixture
def hosts():
    """Give four addresses of this machine that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    names = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return names


def read_flags(environ=None, **flags):
    for name, value in flags.items():
        mox.set_flag(name, ",".join(value) if isinstance(value, list) else value)
    return read(mox.get_flag, environ or {})


def read_tf_config(config, **flags):
    return read_flags({"TF_CONFIG": config if isinstance(config, str) else json.dumps(config)}, **flags)


def refused(call, *arguments, **options):
    with pytest.raises(mox.UsageError) as refusal:
        call(*arguments, **options)
    return str(refusal.value)


def test_a_process_without_flags_is_alone():
    assert read_flags() is None
    assert read_flags(job_name="worker") is None
    assert read_flags(sync_replicas=False) is None


def test_a_worker_without_others_is_alone_wherever_its_address_is():
    assert read_flags(worker_hosts=f"{FOREIGN}:2222") is None
    assert read_flags(worker_hosts=f"{FOREIGN}:2222", job_name="worker") is None
    assert read_tf_config({"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}) is None


def test_the_flags_of_a_synchronous_worker(hosts):
    job = read_flags(job_name="worker", task_index=1, worker_hosts=hosts[:2], ps_hosts=hosts[2:])
    assert job == Cluster(workers=tuple(hosts[:2]), ps=tuple(hosts[2:]), job="worker", index=1, synchronous=True)
    assert (job.address, job.is_chief, job.num_workers, job.several) == (hosts[1], False, 2, True)
    assert [str(each) for each in job.processes] == [
        f"worker 0 at {hosts[0]}", f"worker 1 at {hosts[1]}", f"ps 0 at {hosts[2]}", f"ps 1 at {hosts[3]}"
    ]  # fmt: skip
    assert [each.name for each in job.peers] == ["worker 0"]
    assert (job.me.name, job.chief.name, job.chief.host, job.listens) == ("worker 1", "worker 0", "127.0.0.1", True)


def test_the_flags_of_a_ps(hosts):
    ps = read_flags(job_name="ps", task_index=1, worker_hosts=hosts[:2], ps_hosts=hosts[2:])
    assert (ps.job, ps.index, ps.address, ps.is_chief, ps.several, ps.listens) == (
        "ps", 1, hosts[3], False, True, False
    )  # fmt: skip
    assert [each.name for each in ps.peers] == ["worker 0"]
    ps = read_flags(sync_replicas=False)
    assert ps.listens
    assert [each.name for each in ps.peers] == ["worker 0", "worker 1", "ps 0"]


def test_a_controller_has_nothing_to_do_wherever_it_is_and_needs_to_know_the_workers(hosts):
    controller = read_flags(job_name="controller", controller_host=f"{FOREIGN}:2222", worker_hosts=hosts[:2])
    assert (controller.idle, controller.is_chief, controller.listens) == (True, False, False)
    assert controller.chief.address == hosts[0]
    assert refused(read_flags, worker_hosts="").startswith("--job_name=controller --task_index=0, and no hosts: name ")


@pytest.mark.parametrize("synchronous", [True, False])
def test_one_worker_trains_alone_and_its_ps_have_nothing_to_do(hosts, synchronous):
    job = read_flags(job_name="worker", worker_hosts=hosts[:1], ps_hosts=hosts[1:2], sync_replicas=synchronous)
    assert (job.several, job.is_chief, job.listens, job.uses_parameter_servers) == (False, True, False, False)
    assert read_flags(job_name="ps", sync_replicas=synchronous).idle


def test_workers_on_their_own_without_ps_need_each_other_only(hosts):
    job = read_flags(job_name="worker", worker_hosts=hosts[:2], sync_replicas=False)
    assert (job.several, job.uses_parameter_servers, job.listens) == (True, False, True)
    assert [each.name for each in job.peers] == ["worker 1"]


@pytest.mark.parametrize(("kind", "index", "job", "place"), [
    ("chief", 0, "worker", 0), ("worker", 0, "worker", 1), ("worker", "1", "worker", 2), ("ps", 0, "ps", 0),
])  # fmt: skip
def test_the_chief_of_tf_config_is_worker_0(hosts, kind, index, job, place):
    config = {"cluster": {"ps": hosts[3:], "worker": hosts[1:3], "chief": hosts[:1]}}
    assert read_tf_config({**config, "task": {"type": kind, "index": index}}, sync_replicas=False) == Cluster(
        workers=tuple(hosts[:3]), ps=tuple(hosts[3:]), job=job, index=place, synchronous=False
    )


def test_tf_config_without_a_chief(hosts):
    job = read_tf_config({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": 0}, "rpc_layer": "grpc"})
    assert job == Cluster(workers=tuple(hosts), ps=(), job="worker", index=0, synchronous=True)


@pytest.mark.parametrize("config", ["", "  ", "{}", {"cluster": {}}, {"cluster": {}, "task": {"type": "worker"}}])
def test_a_tf_config_without_hosts_is_none(config):
    assert read_tf_config(config) is None


def test_flags_win_over_tf_config_and_it_is_said_once(hosts, caplog):
    flags = {"job_name": "worker", "worker_hosts": hosts[:2]}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert read_tf_config("not even JSON", **flags).workers == tuple(hosts[:2])
    assert caplog.messages == ["--worker_hosts names the hosts of this job: TF_CONFIG is not used."]


@pytest.mark.parametrize(("flags", "error"), [
    ({"worker_hosts": "a:1,b:2"},
     ("--job_name is missing, and the flags name 2 worker_hosts and 0 ps_hosts: start a process for each of them, with "
     "--job_name=worker or --job_name=ps and its --task_index.")),
    ({"worker_hosts": "a:1,b:2", "job_name": "worker", "task_index": 2},
     "--job_name=worker --task_index=2: --worker_hosts names 2, 'a:1,b:2', so that the index must be 0 to 1."),
    ({"worker_hosts": "a:1", "task_index": 1},
     "--job_name=worker --task_index=1: --worker_hosts names 1, 'a:1', so that the index must be 0."),
    ({"worker_hosts": "a:1,b:2", "job_name": "ps"},
     "--job_name=ps --task_index=0, and --ps_hosts names nobody: name the 'host:port' of each such process there."),
    ({"ps_hosts": "a:1,b:2", "job_name": "ps"},
     "--worker_hosts names nobody: a job needs at least one worker, which is its chief."),
    ({"job_name": "ps"},
     ("--job_name=ps --task_index=0, and no hosts: name those of all processes in --worker_hosts and --ps_hosts, "
     "or leave these flags out to train in one process.")),
    ({"job_name": "worker", "task_index": 1},
     ("--job_name=worker --task_index=1, and no hosts: name those of all processes in --worker_hosts and --ps_hosts, "
     "or leave these flags out to train in one process.")),
    ({"worker_hosts": "a:1,b:2,a:1", "job_name": "worker"},
     "'a:1' is the address of worker 0 and of worker 2 in --worker_hosts: each process needs a port of its own."),
    ({"worker_hosts": "a:1,b:2", "ps_hosts": "B:2", "job_name": "worker"},
     "'B:2' is the address of worker 1 and of ps 0 in --ps_hosts: each process needs a port of its own."),
])  # fmt: skip
def test_flags_that_contradict_themselves_are_refused(flags, error):
    assert refused(read_flags, **flags) == error


@pytest.mark.parametrize(("address", "why"), [
    ("a", "has no port"),
    ("", "is empty"),
    (":2222", "has no host"),
    ("a:", "has the port '', and a port is a number from 1 to 65535"),
    ("a:http", "has the port 'http', and a port is a number from 1 to 65535"),
    ("a:0", "has the port '0', and a port is a number from 1 to 65535"),
    ("a:65536", "has the port '65536', and a port is a number from 1 to 65535"),
    ("::1:2222", "has more in it than host and port (an IPv6 address stands in brackets, '[::1]:2222')"),
    ("grpc://a:2222", "has more in it than host and port (an IPv6 address stands in brackets, '[::1]:2222')"),
])  # fmt: skip
def test_an_address_that_cannot_be_is_refused(address, why):
    said = refused(read_flags, worker_hosts=["b:1", address], job_name="worker")
    assert said == f"--worker_hosts names {address!r}, which {why}: write 'host:port'."


def test_an_ipv6_address_stands_in_brackets():
    assert addresses.split("[::1]:2222") == ("::1", 2222)


EXAMPLE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


@pytest.mark.parametrize(("config", "error"), [
    ("{", ("TF_CONFIG is '{', which is no JSON: Expecting property name enclosed in double quotes: "
          "line 1 column 2 (char 1).")),
    ("[1]", f"TF_CONFIG is '[1]'; it must have a cluster, and a task with type and index: {EXAMPLE}"),
    ('{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}',
     ('TF_CONFIG is \'{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}\'; it must have a cluster, and a '
     f"task with type and index: {EXAMPLE}")),
    ('{"cluster": {"worker": ["a:1"]}}',
     ('TF_CONFIG is \'{"cluster": {"worker": ["a:1"]}}\'; it must have a cluster, and a task with type and index: '
     f"{EXAMPLE}")),
    ({"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}},
     f"TF_CONFIG has 'a:1' as cluster.worker; it must be a list of 'host:port': {EXAMPLE}"),
    ({"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}},
     ("TF_CONFIG has a task of type 'evaluator'; mox knows 'chief', 'worker' and 'ps'. Evaluate with run_mode or "
     "inter_mode mox.ModeKeys.EVAL.")),
    ({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}},
     "TF_CONFIG's task worker 1: cluster.worker names 1, 'a:1', so that the index must be 0."),
    ({"cluster": {"worker": ["a:1"], "chief": ["b:1"]}, "task": {"type": "worker", "index": -1}},
     "TF_CONFIG's task worker -1: cluster.worker names 1, 'a:1', so that the index must be 0."),
    ({"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}},
     "TF_CONFIG's task chief 0, and cluster.chief names nobody: name the 'host:port' of each such process there."),
    ({"cluster": {"worker": ["a:1", "a"]}, "task": {"type": "worker", "index": 0}},
     "TF_CONFIG's cluster.worker names 'a', which has no port: write 'host:port'."),
])  # fmt: skip
def test_a_tf_config_that_lacks_something_is_refused(config, error):
    assert refused(read_tf_config, config) == error


def test_box_2_3_1_an_index_that_belongs_to_another_machine_is_refused_with_the_right_one(hosts):
    said = refused(read_flags, job_name="worker", task_index=1, worker_hosts=[hosts[0], f"{FOREIGN}:2223"])
    begin, end = said.split("whose addresses are ")
    assert begin == (
        f"--job_name=worker --task_index=1 makes this process worker 1, whose address is '{FOREIGN}:2223', and "
        f"{FOREIGN} is not this machine, "
    )
    own, advice = end.split(". ", 1)
    assert "127.0.0.1" in own.split(", ")
    assert all(addresses.is_local(address) for address in own.split(", "))
    assert advice == (
        f"{hosts[0]!r} is this machine: give it --job_name=worker --task_index=0. Or start this process on {FOREIGN}. "
        "Where that is the outer address of a container or a network, name one that means this machine here and "
        "elsewhere."
    )


def test_no_index_is_proposed_where_none_is_this_machines():
    said = refused(read_flags, job_name="ps", worker_hosts=[f"{FOREIGN}:1", "a:1"], ps_hosts=f"{FOREIGN}:2")
    assert "give it" not in said
    assert f". Or start this process on {FOREIGN}. " in said


def test_tf_config_of_another_machine_is_refused_in_its_words():
    config = {"cluster": {"worker": [f"{FOREIGN}:1", "127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}
    said = refused(read_tf_config, config)
    assert said.startswith(f"TF_CONFIG's worker 0 makes this process worker 0, whose address is '{FOREIGN}:1', and ")
    assert "'127.0.0.1:1' is this machine: give it TF_CONFIG's worker 1." in said


def test_an_own_name_that_nobody_knows_is_refused():
    said = refused(read_flags, job_name="worker", worker_hosts="no-such-host.invalid:2222,127.0.0.1:2223")
    assert said.startswith(
        "--job_name=worker --task_index=0 makes this process worker 0, whose address is 'no-such-host.invalid:2222', "
        "and nobody knows the name 'no-such-host.invalid' here: "
    )
    assert said.endswith(". Correct it, or name an IP address.")


def test_names_of_others_are_not_looked_up(hosts):
    assert read_flags(job_name="worker", worker_hosts=[hosts[0], "no-such-host.invalid:2222"]).num_workers == 2


@pytest.mark.parametrize("bound_to", ["", "127.0.0.1"])
def test_a_port_in_use_is_refused(hosts, bound_to):
    flags = {"job_name": "worker", "worker_hosts": hosts[:2]}
    with socket.create_server((bound_to, int(hosts[0].split(":")[1]))):
        assert refused(read_flags, **flags) == (
            f"--job_name=worker --task_index=0 has the address {hosts[0]!r}, and its port cannot be had: it is in use. "
            "An earlier run that has not ended may have it, or another program: end it, or name another port for all "
            "processes."
        )
        addresses.hand_over(int(hosts[0].split(":")[1]))
        assert read_flags() is not None  # the server of this process, from an earlier run
    assert read_flags() is not None


def test_a_port_whose_connections_have_just_ended_is_free(hosts):
    port = int(hosts[0].split(":")[1])
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)) as caller:
        server.accept()[0].close()  # the side that closes first keeps the port for a minute (TIME_WAIT)
        assert caller.recv(1) == b""
    assert addresses.why_not_free(port) is None


@pytest.mark.parametrize(("before", "inside"), [
    ({}, "a,b,::1"),
    ({"no_proxy": "c,.d"}, "c,.d,a,b,::1"),
    ({"no_proxy": "c", "no_grpc_proxy": "e"}, "e,a,b,::1"),
    ({"no_grpc_proxy": ""}, "a,b,::1"),
])  # fmt: skip
def test_grpc_is_told_to_reach_the_hosts_without_a_proxy_while_a_run_lasts(monkeypatch, before, inside):
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    was = dict(os.environ)
    job = Cluster(workers=("a:1", "a:2", "b:1"), ps=("[::1]:1",), job="worker", index=0, synchronous=True)
    with job.without_proxies():
        assert dict(os.environ) == {**was, "no_grpc_proxy": inside}
    assert dict(os.environ) == was


TWO_WORKERS = """
    import os, sys
    from mox_core.cluster.cluster import read
    from mox_core.flags import get_flag
    from mox_core.cluster.rendezvous import wait_for_peers
    job = read(get_flag, os.environ)
    import json
    import tensorflow as tf
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": job.workers}, "task": {"type": "worker", "index": job.index}}
    )
    with job.without_proxies():
        wait_for_peers(job, get_flag("session_timeout"))
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        total = strategy.run(
            tf.function(lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.constant(job.index + 1.0)))
        )
    print("sum", float(total))
"""


@pytest.mark.slow
def test_tensorflow_gets_the_ports_and_ignores_the_proxies(hosts, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(TWO_WORKERS), encoding="utf-8")
    nowhere = "http://127.0.0.1:9"  # nothing answers at the port of "discard"; with it alone the strategy hangs
    environ = {**os.environ, "http_proxy": nowhere, "https_proxy": nowhere, "grpc_proxy": nowhere}
    flags = ["--job_name=worker", f"--worker_hosts={','.join(hosts[:2])}", "--session_timeout=100"]
    processes = [
        forked.Popen([sys.executable, script, *flags, f"--task_index={i}"], env=environ, stdout=forked.PIPE)
        for i in range(2)
    ]
    try:
        assert [each.communicate(timeout=150)[0] for each in processes] == [b"sum 3.0\n"] * 2
    finally:
        for each in processes:
            each.kill()
