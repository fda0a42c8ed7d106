"""The cluster of a distributed job, from flags or TF_CONFIG, checked before anything can hang.

TensorFlow hangs without a message if an address is wrong or in use (box 2-3-1 of the manual). So everything that this
machine can check alone is checked here, before TensorFlow is imported; `rendezvous` then waits for the other processes.
"""

from __future__ import annotations

import json
import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from mox_core.cluster import addresses
from mox_core.errors import UsageError
from mox_core.name_lists import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager


CONTROLLER: Final = "controller"
"""The job of a process that led the workers of MoXing. Here they lead themselves: it has nothing to do."""
_TASK_TYPES: Final = ("chief", "worker", "ps")


def read(get_flag: Callable[[str], Any], environ: Mapping[str, str]) -> Cluster | None:
    """Return the cluster of mox's flags or, if they name no hosts, of TF_CONFIG; None for a single process.

    Args:
        get_flag: `mox_core.flags.get_flag`.
        environ: `os.environ`.

    Raises:
        UsageError: if something is missing or contradictory, or the address of this process is not local or not free.
    """
    named = _from_flags(get_flag)
    tf_config = environ.get("TF_CONFIG", "").strip()
    if named and tf_config:
        _warn_once("--worker_hosts names the hosts of this job: TF_CONFIG is not used.")
    if not named and tf_config:
        named = _from_tf_config(tf_config)
    if not named:
        _check_single_process(get_flag)
        return None
    _check_hosts(named)
    if len(named.workers) + len(named.ps) == 1:
        return None
    cluster = Cluster(
        workers=tuple(named.workers),
        ps=tuple(named.ps),
        job=named.job,
        index=named.index,
        synchronous=get_flag("sync_replicas"),
    )
    if cluster.several and cluster.job != CONTROLLER:
        _check_machine(cluster, named)
    return cluster


def _from_flags(get_flag: Callable[[str], Any]) -> _Named | None:
    job, index = get_flag("job_name"), get_flag("task_index")
    workers, ps = _hosts(get_flag("worker_hosts")), _hosts(get_flag("ps_hosts"))
    if not workers and not ps:
        return None
    if not job and len(workers) + len(ps) > 1:
        raise UsageError(
            f"--job_name is missing, and the flags name {len(workers)} worker_hosts and {len(ps)} ps_hosts: "
            "start a process for each of them, with --job_name=worker or --job_name=ps and its --task_index."
        )
    if job == CONTROLLER:
        return _Named(job=job, index=0, workers=workers, ps=ps, flags=True)
    named = _Named(job=job or "worker", index=index, workers=workers, ps=ps, flags=True)
    _check_index(named.task(index), index, ps if job == "ps" else workers, f"--{named.job}_hosts")
    return named


def _from_tf_config(text: str) -> _Named | None:
    """Parse TF_CONFIG as Keras and Estimator do; a chief comes before the workers."""
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UsageError(f"TF_CONFIG is {text!r}, which is no JSON: {error}.") from error
    cluster = config.get("cluster") if isinstance(config, dict) else text
    if not cluster:
        return None
    wanted = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    task = config.get("task") if isinstance(config, dict) else None
    if not isinstance(cluster, dict) or not isinstance(task, dict) or "type" not in task or "index" not in task:
        raise UsageError(f"TF_CONFIG is {text!r}; it must have a cluster, and a task with type and index: {wanted}")
    kind, index = task["type"], int(task["index"]) if str(task["index"]).isdecimal() else -1
    for each in [kind, *cluster]:
        if each not in _TASK_TYPES:
            raise UsageError(
                f"TF_CONFIG has a task of type {each!r}; mox knows {listed(list(_TASK_TYPES), 'and')}. "
                "Evaluate with run_mode or inter_mode mox.ModeKeys.EVAL."
            )
    for name, hosts in cluster.items():
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            raise UsageError(f"TF_CONFIG has {hosts!r} as cluster.{name}; it must be a list of 'host:port': {wanted}")
    _check_index(f"TF_CONFIG's task {kind} {task['index']}", index, cluster.get(kind, []), f"cluster.{kind}")
    chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
    return _Named(
        job="ps" if kind == "ps" else "worker",
        index=index + len(chiefs) if kind == "worker" else index,
        workers=[*chiefs, *workers],
        ps=cluster.get("ps", []),
        flags=False,
    )


def _check_single_process(get_flag: Callable[[str], Any]) -> None:
    """Raise a UsageError for --job_name=ps, --job_name=controller or --task_index without hosts."""
    job, index = get_flag("job_name"), get_flag("task_index")
    if job in ("ps", CONTROLLER) or index:
        raise UsageError(
            f"--job_name={job} --task_index={index}, and no hosts: name those of all processes in --worker_hosts and "
            "--ps_hosts, or leave these flags out to train in one process."
        )


def _check_index(task: str, index: int, hosts: Sequence[str], words: str) -> None:
    if not hosts:
        raise UsageError(f"{task}, and {words} names nobody: name the 'host:port' of each such process there.")
    if not 0 <= index < len(hosts):
        raise UsageError(
            f"{task}: {words} names {len(hosts)}, {','.join(hosts)!r}, so that the index must be "
            f"{'0' if len(hosts) == 1 else f'0 to {len(hosts) - 1}'}."
        )


def _check_hosts(named: _Named) -> None:
    """Raise a UsageError for a malformed address, and for one that two processes share."""
    if not named.workers:
        raise UsageError(f"{named.words('worker')} names nobody: a job needs at least one worker, which is its chief.")
    seen: dict[str, str] = {}
    for process in named.processes:
        words = named.words(process.job)
        try:
            host, port = addresses.split(process.address)
        except ValueError as error:
            raise UsageError(f"{words} names {process.address!r}, which {error}: write 'host:port'.") from error
        first = seen.setdefault(f"{host.casefold()}:{port}", process.name)
        if first != process.name:
            raise UsageError(
                f"{process.address!r} is the address of {first} and of {process.name} in {named.words(process.job)}: "
                "each process needs a port of its own."
            )


def _check_machine(cluster: Cluster, named: _Named) -> None:
    """Raise a UsageError if this process's address is not this machine's (box 2-3-1 of the manual), or not free."""
    me = cluster.me
    _check_host(me, named)
    if cluster.listens and (why := addresses.why_not_free(me.port)):
        raise UsageError(
            f"{named.task(me.index)} has the address {me.address!r}, and its port cannot be had: {why}. An earlier run "
            "that has not ended may have it, or another program: end it, or name another port for all processes."
        )


def _check_host(me: Process, named: _Named) -> None:
    begin = f"{named.task(me.index)} makes this process {me.name}, whose address is {me.address!r}"
    try:
        if addresses.is_local(me.host):
            return
    except OSError as error:
        raise UsageError(
            f"{begin}, and nobody knows the name {me.host!r} here: {error.strerror}. Correct it, or name an IP address."
        ) from error
    same_job = [each for each in named.processes if each.job == me.job]
    own = [each for each in same_job if _is_local(each.host)]
    also = "".join(f" {each.address!r} is this machine: give it {named.task(each.index)}." for each in own[:1])
    raise UsageError(
        f"{begin}, and {me.host} is not this machine, whose addresses are "
        f"{', '.join(addresses.of_this_machine([me.host]))}.{also} Or start this process on {me.host}. Where that is "
        "the outer address of a container or a network, name one that means this machine here and elsewhere."
    )


def _is_local(host: str) -> bool:
    try:
        return addresses.is_local(host)
    except OSError:
        return False


def _hosts(text: str) -> list[str]:
    return [host.strip() for host in text.split(",")] if text.strip() else []


def _processes(workers: Sequence[str], ps: Sequence[str]) -> list[Process]:
    hosts = (("worker", workers), ("ps", ps))
    return [Process(job, index, address) for job, found in hosts for index, address in enumerate(found)]


@cache
def _warn_once(text: str) -> None:
    logging.getLogger("tensorflow").warning(text)


@frozen
class Process:
    """A process of a cluster.

    Attributes:
        job: 'worker' or 'ps'.
        index: its index among the processes of its job.
        address: 'host:port'.
    """

    job: str
    index: int
    address: str

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"

    @property
    def name(self) -> str:
        """Job and index, like 'worker 1'."""
        return f"{self.job} {self.index}"

    @property
    def host(self) -> str:
        """The address without its port."""
        return addresses.split(self.address)[0]

    @property
    def port(self) -> int:
        """The port of the address."""
        return addresses.split(self.address)[1]


@frozen(kw_only=True)
class Cluster:
    """The processes of a distributed job, and the role of this one.

    Attributes:
        workers: 'host:port' of each worker; worker 0 is the chief.
        ps: 'host:port' of each parameter server.
        job: 'worker', 'ps' or 'controller': the job of this process.
        index: the index of this process among those of its job.
        synchronous: whether the workers step together. If not, they share variables on the ps or, without any ps,
            synchronize when their optimizer wrapper does.
    """

    workers: tuple[str, ...]
    ps: tuple[str, ...]
    job: str
    index: int
    synchronous: bool

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes, workers first."""
        return tuple(_processes(self.workers, self.ps))

    @property
    def chief(self) -> Process:
        """Worker 0."""
        return Process("worker", 0, self.workers[0])

    @property
    def me(self) -> Process:
        """This process."""
        return Process(self.job, self.index, self.address)

    @property
    def address(self) -> str:
        """This process's 'host:port'; that of the chief for a controller, which has none."""
        if self.job == CONTROLLER:
            return self.chief.address
        return (self.ps if self.job == "ps" else self.workers)[self.index]

    @property
    def is_chief(self) -> bool:
        """Whether this process is worker 0, which writes what only one process may write."""
        return self.job == "worker" and self.index == 0

    @property
    def num_workers(self) -> int:
        """Number of workers."""
        return len(self.workers)

    @property
    def several(self) -> bool:
        """Whether there are several workers; a single one ignores the other processes."""
        return self.num_workers > 1

    @property
    def uses_parameter_servers(self) -> bool:
        """Whether the workers are asynchronous and share variables on parameter servers."""
        return self.several and not self.synchronous and bool(self.ps)

    @property
    def idle(self) -> bool:
        """Whether this process is a ps that holds no variables, or a controller."""
        return self.job == CONTROLLER or (self.job == "ps" and not self.uses_parameter_servers)

    @property
    def why_idle(self) -> str:
        """Why an idle process has nothing to do."""
        if self.job == CONTROLLER:
            return "the workers lead themselves"
        if not self.several:
            return "one worker has all weights itself"
        return "workers that step together share no weights" if self.synchronous else "the workers need none"

    @property
    def listens(self) -> bool:
        """Whether other processes connect to this one: not to a single worker, nor to an idle ps."""
        return self.several and not self.idle

    @property
    def peers(self) -> tuple[Process, ...]:
        """The processes that this one waits for: all others but idle ps; an idle ps waits for the chief only."""
        if self.idle:
            return (self.chief,)
        with_ps = self.uses_parameter_servers
        return tuple(each for each in self.processes if each != self.me and (each.job == "worker" or with_ps))

    @property
    def server_ip(self) -> str | None:
        """The IP address on which TensorFlow's server of this process is to listen; None: on all."""
        return addresses.for_one_server(self.me.host, peers=[each.host for each in self.processes])

    def without_proxies(self) -> AbstractContextManager[None]:
        """Make TensorFlow connect to all hosts without a proxy; to be entered before it makes channels."""
        return addresses.without_proxies(each.host for each in self.processes)


@frozen(kw_only=True)
class _Named:
    """The processes that flags or TF_CONFIG name, not checked yet."""

    job: str
    index: int
    workers: Sequence[str]
    ps: Sequence[str]
    flags: bool

    @property
    def processes(self) -> list[Process]:
        return _processes(self.workers, self.ps)

    def words(self, job: str) -> str:
        """Return where the hosts of a job were named, for errors."""
        return f"--{job}_hosts" if self.flags else f"TF_CONFIG's cluster.{job}"

    def task(self, index: int) -> str:
        """Return what makes a process the one of an index in this one's job, for errors."""
        return f"--job_name={self.job} --task_index={index}" if self.flags else f"TF_CONFIG's {self.job} {index}"
