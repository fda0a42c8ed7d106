"""Whether tf.data tunes the input of a run."""

import os
import threading

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input.batching import Batching
from mox_core.engine.input.order import Order
from mox_core.engine.input.pipeline import build_pipeline


def _opened(dataset):
    pipeline = build_pipeline(
        lambda _: dataset, mox.ModeKeys.TRAIN, Batching(batch_size=4, auto=True), order=Order(seed=1)
    )
    return pipeline._open((0,))


@pytest.mark.parametrize(("machine", "asked", "expected"), [(16, None, False), (17, None, None), (2, True, True)])
def test_an_input_is_tuned_on_a_machine_of_more_than_sixteen_cores_or_where_its_options_say_so(
    machine, asked, expected, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(machine))
    options = tf.data.Options()
    if asked is not None:
        options.autotune.enabled = asked
    assert _opened(tf.data.Dataset.range(40).with_options(options)).options().autotune.enabled is expected


@pytest.mark.parametrize(("threads", "calls"), [(3, 3), (40, 16)])
def test_without_tuning_autotune_stands_for_a_call_for_each_thread_and_sixteen_at_most(threads, calls):
    """It rests on this: another number of a later TensorFlow would leave cores idle."""
    together, highest, waiting, lock = threading.Barrier(calls), [0], [0], threading.Lock()

    def call(number):
        with lock:
            waiting[0] += 1
            highest[0] = max(highest[0], waiting[0])
        together.wait(60)  # raises where fewer calls come
        with lock:
            waiting[0] -= 1
        return number

    options = tf.data.Options()
    options.autotune.enabled, options.threading.private_threadpool_size = False, threads
    numbers = tf.data.Dataset.range(4 * calls).map(
        lambda number: tf.numpy_function(call, [number], tf.int64), num_parallel_calls=tf.data.AUTOTUNE
    )
    assert np.array_equal(list(numbers.with_options(options).as_numpy_iterator()), range(4 * calls))
    assert highest == [calls]
