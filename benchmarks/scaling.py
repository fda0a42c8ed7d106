"""Check the formula of docs/scaling.md for the time of a step with 1, 2 and 4 workers on this machine.

    python benchmarks/scaling.py [--rounds 3]     measure, fit, predict, compare
    python benchmarks/scaling.py --rounds 0       only the tables for large clusters

Each worker is a process that is bound to one core; where there are more workers than cores, they share. Compute is
measured with one worker, latency and bandwidth are fitted to two workers that send gradients of 1 KB to 100 MB. What
four workers take, and other models, is predicted from that. Rounds of 1, 2 and 4 workers take turns, so that a busy
machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKERS = (1, 2, 4)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SIDE = 256  # of the matrices that are multiplied
PIECE = 4_000_000  # bytes of a variable: ResNet-50's are of up to 9 MB

RESNET_50 = 102_000_000  # bytes: 25.6 million parameters in float32
SCALES = (1, 8, 64, 256, 1000)


def all_reduce_seconds(workers: int, num_bytes: float, network: Network, packs: int = 1) -> float:
    """A ring passes a part of 1/W on 2 (W - 1) times (Patarasuk and Yuan 2009); packs come one after another."""
    return 2 * (workers - 1) * (packs * network.hop + num_bytes / workers / network.bandwidth)


def packs_of(workers: int, num_bytes: float) -> int:
    """In how many packs mox sums gradients: see mox_core/engine/distribute/collectives.py."""
    return max(1, math.ceil(num_bytes / max(4 << 20, workers << 20)))


def ps_seconds(workers: int, servers: int, num_bytes: float, network: Network) -> float:
    """Each worker sends all gradients and gets all weights; the busier end of the wire decides."""
    return 2 * (network.hop + num_bytes * max(1, workers / servers) / network.bandwidth)


def step_seconds(workers: int, compute: float, *, gradient_bytes: float, network: Network, host: Host, cores=None):
    """The mean time of a step.

    Args:
        workers: W.
        compute: seconds of a step of one worker alone, update included.
        gradient_bytes: what all workers add up in a step.
        network: what lies between two workers.
        host: what is done beside steps.
        cores: how many cores the workers share; None where each has a machine of its own.
    """
    share = max(1.0, workers / cores) if cores else 1.0
    # Bytes are copied by the core that computes; for a message, it mostly waits.
    network = Network(hop=network.hop, bandwidth=network.bandwidth / share)
    packs = packs_of(workers, gradient_bytes)
    exchange = all_reduce_seconds(workers, gradient_bytes, network, packs)
    # All packs but the last may leave during the backward pass.
    hidden = min(exchange * (1 - 1 / packs), host.overlap * compute)
    exchange = (exchange - hidden) / host.period
    call = share * host.call
    if workers > 1:  # they agree on each call: four numbers of each worker
        call += share * host.agreement + all_reduce_seconds(workers, 32 * workers, network)
    return share * compute + exchange + call / host.steps_a_call + host.save / host.steps_a_save


@frozen(kw_only=True)
class Network:
    """Between two workers.

    Attributes:
        hop: seconds until a short message is there.
        bandwidth: bytes a second.
    """

    hop: float
    bandwidth: float


@frozen(kw_only=True)
class Host:
    """What a run does beside steps.

    Attributes:
        call: seconds for a call of steps.
        agreement: seconds for what workers do before each call, beside waiting for messages.
        steps_a_call: steps in a call.
        save: seconds for a checkpoint.
        steps_a_save: steps from one checkpoint to the next.
        period: steps from one exchange of gradients to the next.
        overlap: the part of compute in which gradients come and nothing else uses what sends them: none where one core
            computes and sends.
    """

    call: float = 0.0
    agreement: float = 0.0
    steps_a_call: float = 1.0
    save: float = 0.0
    steps_a_save: float = 1.0
    period: float = 1.0
    overlap: float = 0.0


@frozen(kw_only=True)
class Cluster:
    """Workers on machines of their own, for the tables."""

    name: str
    compute: float
    network: Network
    period: int = 1


@frozen(kw_only=True)
class Model:
    """A model with a known amount of work.

    Attributes:
        gradient_bytes: of all its variables.
        products: how many matrices are multiplied in a step.
        steps: in a window that is timed: one call with all steps but the last, and one with the last.
        windows: how many are timed.
        saves: whether each window ends with a checkpoint.
    """

    gradient_bytes: int
    products: int = 0
    steps: int
    windows: int
    saves: bool = False

    def __str__(self) -> str:
        saves = ", a checkpoint" if self.saves else ""
        return f"{self.gradient_bytes / 1e6:g} MB, {self.products} products, {self.steps} steps{saves}"


# To find latency and bandwidth: no work but that on gradients. The first one shows what a call costs.
SWEEP = [
    Model(gradient_bytes=1_000, steps=2, windows=30),
    Model(gradient_bytes=1_000, steps=60, windows=8),
    Model(gradient_bytes=1_000_000, steps=40, windows=6),
    Model(gradient_bytes=10_000_000, steps=10, windows=6),
    Model(gradient_bytes=100_000_000, steps=3, windows=3),
]
# To see whether they tell what other models take.
CHECKS = [
    Model(gradient_bytes=400_000, products=20, steps=20, windows=8),
    Model(gradient_bytes=4_000_000, products=50, steps=10, windows=8),
    Model(gradient_bytes=4_000_000, products=10, steps=2, windows=20),
    Model(gradient_bytes=20_000_000, products=20, steps=5, windows=6),
    Model(gradient_bytes=20_000_000, products=20, steps=5, windows=6, saves=True),
]

MEASURED = Network(hop=0.4e-3, bandwidth=0.5e9)
"""Of TensorFlow's own ring over gRPC, on this machine, rounded."""
V100 = 128 / 412  # seconds a step: images in a batch, images a second as NVIDIA published them
A100 = 256 / 2375
NCCL_25 = Network(hop=20e-6, bandwidth=2.8e9)
NCCL_200 = Network(hop=10e-6, bandwidth=22e9)
CLUSTERS = [
    Cluster(name="V100, gRPC as measured here", network=MEASURED, compute=V100),
    Cluster(name="V100, gRPC, exchange every 8 steps", network=MEASURED, period=8, compute=V100),
    Cluster(name="V100, NCCL, 25 Gbit/s", network=NCCL_25, compute=V100),
    Cluster(name="A100, NCCL, 25 Gbit/s", network=NCCL_25, compute=A100),
    Cluster(name="A100, NCCL, 200 Gbit/s", network=NCCL_200, compute=A100),
]


def row(cluster: Cluster) -> str:
    """A row of the table of docs/scaling.md: milliseconds a step, and the part of the time that is spent on compute."""
    cells = []
    for workers in SCALES:
        # Backward is two thirds of compute; gradients that are added up over steps are all there when they are sent.
        overlap = 2 / 3 if cluster.period == 1 else 0.0
        host = Host(call=1e-3, agreement=4e-3, steps_a_call=math.inf, period=cluster.period, overlap=overlap)
        step = partial(step_seconds, workers, cluster.compute, gradient_bytes=RESNET_50, network=cluster.network)
        seconds = step(host=evolve(host, steps_a_call=max(1, int(1 / step(host=host)))))  # a call lasts about a second
        cells.append(f"{seconds * 1e3:.0f} ms, {cluster.compute / seconds:.0%}")
    return f"| {cluster.name} | {' | '.join(cells)} |"


def run_model(model: Model, log_dir: Path) -> list[float]:
    """Train in this process; return the seconds of each window."""
    import tensorflow as tf

    import mox_core as mox

    seconds: list[float] = []

    class Timer(mox.AggregativeSessionRunHook):
        then = None
        support_aggregation = support_sync_workers = run_inter_mode = lambda self: False  # noqa: ARG005

        def next_step(self, step):
            return step + -(step + 1) % model.steps

        def after_run(self, run_context, run_values):
            del run_context, run_values
            now = time.perf_counter()
            if self.then is not None:
                seconds.append(now - self.then)
            self.then = now

    def input_fn(_mode):
        matrix = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32) / 16
        return tf.data.Dataset.from_tensors((matrix,)).repeat()

    def model_fn(inputs, mode):
        del mode
        product = inputs[0]
        for _ in range(model.products):
            product = tf.linalg.matmul(product, inputs[0])
        pieces = max(1, model.gradient_bytes // PIECE)
        sizes = [model.gradient_bytes // pieces] * pieces
        weights = [
            tf.compat.v1.get_variable(f"v{n}", initializer=tf.zeros([size // 4])) for n, size in enumerate(sizes)
        ]
        loss = tf.add_n([tf.reduce_mean(each) for each in weights]) + 1e-9 * tf.reduce_mean(product)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=[Timer()])

    mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.1),
        run_mode=mox.ModeKeys.TRAIN,
        auto_batch=False,
        max_number_of_steps=model.steps * (model.windows + 2),
        log_every_n_steps=10**9,
        **({"log_dir": log_dir, "save_model_steps": model.steps, "save_summary_steps": 10**9} if model.saves else {}),
    )
    return seconds[1:]  # the call with all steps but the last is compiled in the first one


def run_worker(index: int, hosts: list[str], folder: Path) -> None:
    """Measure all models as one of the workers."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[index % CORES]})
    import mox_core as mox

    if len(hosts) > 1:
        for flag, value in {"job_name": "worker", "task_index": index, "worker_hosts": ",".join(hosts)}.items():
            mox.set_flag(flag, value)
    sys.argv[1:] = []
    times = [run_model(model, folder / f"model-{n}") for n, model in enumerate([*SWEEP, *CHECKS])]
    if index == 0:
        (folder / "times.json").write_text(json.dumps(times), encoding="utf-8")


def measured(workers: int) -> list[list[float]]:
    """Return the seconds of the windows of each model, with so many workers."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = []
        for index in range(workers):
            # Forked with TensorFlow imported and not yet used: a worker starts in a second.
            processes.append(os.fork())
            if not processes[-1]:
                code = 1
                try:
                    log = os.open(folder / f"{index}.log", os.O_WRONLY | os.O_CREAT)
                    os.dup2(log, 1)
                    os.dup2(log, 2)
                    run_worker(index, hosts, folder)
                    code = 0
                except BaseException:  # noqa: BLE001  (the process ends here)
                    sys.excepthook(*sys.exc_info())
                finally:
                    sys.stderr.flush()
                    os._exit(code)
        codes = [os.waitpid(process, 0)[1] for process in processes]
        if any(codes):
            sys.exit("\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.log"))))
        return json.loads((folder / "times.json").read_text("utf-8"))


def fitted(times: dict[int, list[float]]) -> tuple[list[float], Host, Network]:
    """Return the compute of each model, what the host does, and the network, from 1 and 2 workers."""
    models = [*SWEEP, *CHECKS]
    (alone, alone_call), (_, two_call) = [_step_and_call(times[workers]) for workers in (1, 2)]
    computes = [(seconds - 2 * alone_call) / model.steps for seconds, model in zip(times[1], models, strict=True)]
    computes[0] = computes[1] = alone
    save = (computes[-1] - computes[-2]) * models[-1].steps  # they differ in nothing else
    computes[-1] = computes[-2]
    rows = []
    # Without the largest: it is predicted too.
    for model, window, compute in list(zip(models, times[2], computes, strict=True))[1 : len(SWEEP) - 1]:
        exchange = (window - 2 * two_call) / model.steps - compute
        # Divided by what was measured: the same part of a short one and of a long one counts the same.
        rows.append([2 * packs_of(2, model.gradient_bytes) / exchange, model.gradient_bytes / exchange])
    (hop, a_byte), *_ = np.linalg.lstsq(np.array(rows), np.ones(len(rows)), rcond=None)
    host = Host(call=alone_call, agreement=two_call - alone_call - 2 * hop, save=save)
    return computes, host, Network(hop=hop, bandwidth=1 / a_byte)


def _step_and_call(times: list[float]) -> tuple[float, float]:
    """The smallest model in windows of a few and of many steps: both have two calls."""
    few, many = SWEEP[0].steps, SWEEP[1].steps
    step = (times[1] - times[0]) / (many - few)
    return step, (times[0] - few * step) / 2


def quartile(rounds: Sequence[list[float]]) -> float:
    """The lower quartile of the windows of all rounds: what other programs do only adds."""
    return statistics.quantiles([each for times in rounds for each in times], n=4, method="inclusive")[0]


def predicted(workers: int, model: Model, compute: float, *, network: Network, host: Host) -> float:
    """The seconds of a window, by the formula."""
    saves = host.save if model.saves else 0.0
    host = evolve(host, steps_a_call=model.steps / 2, save=saves, steps_a_save=model.steps)
    size = model.gradient_bytes
    return model.steps * step_seconds(workers, compute, gradient_bytes=size, network=network, host=host, cores=CORES)


def compare(times: dict[int, list[float]]) -> None:
    """Print what was fitted, and what was predicted beside what was measured."""
    computes, host, network = fitted(times)
    print(f"hop {network.hop * 1e6:.0f} us, bandwidth {network.bandwidth / 1e9:.2f} GB/s, ", end="")
    print(
        f"call {host.call * 1e3:.1f} ms, agreement {host.agreement * 1e3:.1f} ms, checkpoint {host.save * 1e3:.0f} ms"
    )
    print("\n| gradients, work, window | workers | predicted ms a step | measured | error |")
    print("| --- | --- | --- | --- | --- |")
    for number, model in enumerate([*SWEEP, *CHECKS]):
        for workers in WORKERS:
            seconds = predicted(workers, model, computes[number], network=network, host=host)
            real = times[workers][number]
            cells = [f"{each / model.steps * 1e3:.2f}" for each in (seconds, real)]
            print(f"| {model} | {workers} | {' | '.join(cells)} | {seconds / real - 1:+.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the formula of docs/scaling.md on this machine.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each number of workers is measured")
    rounds = parser.parse_args().rounds
    if rounds:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
        # With all that a run needs, once for all processes.
        import mox_core.engine.distribute.connection  # noqa: F401

        if CORES < 2:
            sys.exit("Two workers that share a core tell nothing of a network: this takes two cores.")
        rounds_of = {workers: [] for workers in WORKERS}
        for _ in range(rounds):
            for workers, found in rounds_of.items():
                found.append(measured(workers))
        compare(
            {workers: [quartile(each) for each in zip(*found, strict=True)] for workers, found in rounds_of.items()}
        )
    print(f"\n| ResNet-50, a worker a machine | {' | '.join(f'{each:,}' for each in SCALES)} |")
    print("| --- " * (len(SCALES) + 1) + "|")
    for cluster in CLUSTERS:
        print(row(cluster))


if __name__ == "__main__":
    main()
