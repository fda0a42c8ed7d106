"""The formula of docs/scaling.md against calculations by hand, and against a training that was published."""

import importlib.util
import math
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks/scaling.py")
scaling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scaling)

MILLISECOND, MEGABYTE = 1e-3, 1e6
NETWORK = scaling.Network(hop=MILLISECOND, bandwidth=1e9)


def test_a_ring_of_four_passes_a_quarter_on_six_times():
    # Six messages of 2 MB: each takes 1 ms to begin, and 2 ms to be sent.
    assert scaling.all_reduce_seconds(4, 8 * MEGABYTE, NETWORK) == pytest.approx(18 * MILLISECOND)
    assert scaling.all_reduce_seconds(1, 8 * MEGABYTE, NETWORK) == 0


@pytest.mark.parametrize(
    ("servers", "milliseconds"),
    [
        (2, 34),  # each server takes half of 8 MB from each of four, 16 MB, and sends as much: 2 (1 + 16)
        (8, 18),  # now the wire of a worker decides: 2 (1 + 8)
    ],
)
def test_servers_send_to_all_workers_and_workers_all_bytes(servers, milliseconds):
    assert scaling.ps_seconds(4, servers, 8 * MEGABYTE, NETWORK) == pytest.approx(milliseconds * MILLISECOND)


def test_one_worker_has_nobody_to_agree_with():
    host = scaling.Host(call=0.002, agreement=5.0, steps_a_call=10, save=1.0, steps_a_save=500)
    seconds = scaling.step_seconds(1, 0.1, gradient_bytes=8 * MEGABYTE, network=NETWORK, host=host)
    assert seconds == pytest.approx(0.1 + 0.0002 + 0.002)


def test_workers_that_share_cores_compute_and_copy_in_turns_and_wait_for_messages_together():
    host = scaling.Host(call=0.002, agreement=0.003, steps_a_call=10)
    seconds = scaling.step_seconds(4, 0.1, gradient_bytes=8 * MEGABYTE, network=NETWORK, host=host, cores=2)
    # Work twice as long; six hops of 1 ms for each of two packs, and parts of 2 MB at half the bandwidth; a tenth of a
    # call, whose agreement goes round in six hops with 128 bytes.
    agreement = 6 * (0.001 + 32 / 0.5e9)
    assert seconds == pytest.approx(0.2 + 6 * (2 * 0.001 + 0.004) + (2 * 0.005 + agreement) / 10)


def test_gradients_that_are_exchanged_every_fourth_step_cost_a_quarter():
    host = scaling.Host(steps_a_call=math.inf, period=4)
    seconds = scaling.step_seconds(4, 0.1, gradient_bytes=8 * MEGABYTE, network=NETWORK, host=host)
    # Two packs: 6 messages of 1 ms each, and 6 parts of 2 MB.
    assert seconds == pytest.approx(0.1 + (2 * 6 * 0.001 + 6 * 0.002) / 4)


@pytest.mark.parametrize(
    ("overlap", "left"),
    [
        (0.5, 12),  # of two packs, which take 24 ms, the first one is hidden by 50 ms of compute
        (0.05, 19),  # 5 ms hide 5 ms
    ],
)
def test_what_leaves_during_the_backward_pass_costs_nothing_but_the_last_pack(overlap, left):
    host = scaling.Host(steps_a_call=math.inf, overlap=overlap)
    seconds = scaling.step_seconds(4, 0.1, gradient_bytes=8 * MEGABYTE, network=NETWORK, host=host)
    assert seconds == pytest.approx(0.1 + left * MILLISECOND)


@pytest.mark.parametrize(
    ("workers", "megabytes", "packs"),
    [(2, 102, 25), (16, 102, 7), (98, 102, 1), (2, 0.001, 1)],  # of 4, 16, 98 and 4 times 2^20 bytes
)
def test_gradients_of_many_workers_are_in_few_packs(workers, megabytes, packs):
    assert scaling.packs_of(workers, megabytes * MEGABYTE) == packs


def test_the_formula_is_near_the_training_of_resnet_50_in_an_hour():
    """Goyal et al. 2017: 90 epochs, 8 GPUs with 256 images a step in 29 h, 32 such machines (50 Gbit/s) in 1 h."""
    images = 90 * 1_281_167
    one_machine, published = 29 * 3600 / (images / 256), 3600 / (images / 8192)
    network = scaling.Network(hop=20e-6, bandwidth=50e9 / 8)
    host = scaling.Host(steps_a_call=math.inf, overlap=2 / 3)
    ours = scaling.step_seconds(32, one_machine, gradient_bytes=scaling.RESNET_50, network=network, host=host)
    assert ours == pytest.approx(published, rel=0.1)


def test_the_document_shows_what_the_formula_gives():
    document = (ROOT / "docs/scaling.md").read_text("utf-8")
    for cluster in scaling.CLUSTERS:
        assert scaling.row(cluster) in document
