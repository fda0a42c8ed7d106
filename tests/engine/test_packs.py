"""Gradients that go over the network in packs, while the backward pass goes on."""

import sys

import pytest
import tensorflow as tf

from mox_core.engine.distribute.packs import in_packs

EARLY_SUMS = """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if index == 1:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    rows = [0, 1, 2, 1, 3, 0, 0, 2]  # a batch of all workers
    random = np.random.default_rng(1)
    start = {"table": random.normal(size=(4, 1024)) / 8}
    start |= {name: random.normal(size=(1024, 1024)) / 16 for name in ("a", "b")}
    graphs = []

    def deep(inputs, mode):
        graphs.append(tf.compat.v1.get_default_graph())
        weights = {
            name: tf.compat.v1.get_variable(name, initializer=tf.constant(value, tf.float32))
            for name, value in start.items()
        }
        net = tf.matmul(tf.nn.embedding_lookup(weights["table"], inputs[0]), weights["a"], name="of_a")
        loss = tf.reduce_sum(tf.reduce_mean(tf.matmul(net, weights["b"], name="of_b") ** 2, 0))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    train(
        "log", lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0), 1, model_fn=deep,
        input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(rows).repeat(),
    )

    embedded = start["table"][rows]
    net = embedded @ start["a"]
    of_result = 2 * net @ start["b"] / len(rows)
    of_net = of_result @ start["b"].T
    gradients = {"a": embedded.T @ of_net, "b": net.T @ of_result, "table": np.zeros([4, 1024])}
    np.add.at(gradients["table"], rows, of_net @ start["a"].T)
    if index == 0:
        found = tf.train.load_checkpoint(str(log_dir("log")))
        for name, gradient in gradients.items():
            np.testing.assert_allclose(found.get_tensor(name), start[name] - gradient, atol=1e-4, err_msg=name)

    def waits_for(op):
        seen, ops = set(), [op]
        while ops:
            op = ops.pop()
            if op.name not in seen:
                seen.add(op.name)
                ops += [*op.control_inputs, *(each.op for each in op.inputs)]
        return seen

    parts = {"of_b_grad/MatMul_1": "b", "of_a_grad/MatMul_1": "a", "of_a_grad/MatMul": "table"}
    parts = {f"gradients/{name}": part for name, part in parts.items()}
    meetings = ("CollectiveReduceV2", "CollectiveGatherV2", "If")  # a branch gathers rows
    sums = [each for each in graphs[-1].get_operations() if each.type in meetings]
    tell(
        sums=[[parts[name] for name in parts if name in waits_for(each)] for each in sums],
        threads=tf.config.threading.get_inter_op_parallelism_threads(),
    )
"""


@pytest.mark.slow
def test_workers_send_gradients_of_the_last_layers_before_those_of_the_first_are_computed(told):
    workers = told(EARLY_SUMS)
    for worker in workers.values():
        how_many_rows, rows = ["b", "a"], ["b", "a", "table"]
        assert worker["sums"] == [["b"], ["b", "a"], how_many_rows, rows]
    if sys.platform == "linux":  # one thread of a single core would start them last; what the script says holds
        assert [workers[name]["threads"] for name in ("worker-0", "worker-1")] == [2, 1]


def test_packs_are_filled_in_the_order_of_computation_by_dtype_and_are_full_at_a_size():
    with tf.Graph().as_default():
        indices = tf.zeros([1], tf.int64)
        a, b, c, d = (tf.zeros([100], dtype) for dtype in (tf.float32, tf.float16, tf.float32, tf.float32))
        rows = tf.IndexedSlices(tf.zeros([1, 5]), indices, tf.constant([7, 5]))
        e, f, g = tf.zeros([100], tf.float16), tf.zeros([1]), tf.zeros([1000])
        given = [g, rows, f, e, d, c, b, a]
        names = ["g", "rows", "f", "e", "d", "c", "b", "a"]
        packs = [[names[place] for place in pack] for pack in in_packs(given, 800)]
    # Of float32, a and c are 800 bytes; of float16, b and e are 400, and never full.
    assert packs == [["a", "c"], ["rows"], ["d", "f", "g"], ["b", "e"]]
    assert in_packs([], 800) == []


def test_what_is_not_full_leaves_in_the_order_in_which_it_is_complete():
    with tf.Graph().as_default():
        given = [tf.zeros([], dtype) for dtype in (tf.float32, tf.float16, tf.float32)]
        assert in_packs(given, 100) == [[1], [0, 2]]


def test_what_comes_from_outside_of_a_branch_leaves_first():
    with tf.Graph().as_default():
        outside = tf.zeros([25])
        packs = []

        def branch():
            inside = tf.ones([25])
            packs.extend(in_packs([inside, outside], 100))
            return inside

        tf.cond(tf.compat.v1.placeholder(tf.bool, []), branch, lambda: outside)
    assert packs == [[1], [0]]
