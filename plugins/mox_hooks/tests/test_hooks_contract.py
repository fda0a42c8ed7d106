"""The hooks keep to the contract of the kit."""

import tensorflow as tf

import mox_core as mox
from mox_core.testing import HookContract

EVERY_TWO_STEPS = {"batch_size": 8, "samples_in_train": 16, "samples_in_eval": 40}


class TestFeedSessionRunHook(HookContract):
    def hook(self):
        placeholder = tf.compat.v1.placeholder(tf.float32, [2])
        return mox.FeedSessionRunHook(feed_dict={placeholder: lambda: [1.0, 2.0]})


class TestLogEvaluationMetricHook(HookContract):
    def hook(self):
        return mox.LogEvaluationMetricHook({"loss": tf.constant(1.5)}, **EVERY_TWO_STEPS)


class TestEarlyStoppingHook(HookContract):
    def hook(self):
        return mox.EarlyStoppingHook({"loss": tf.constant(1.5)}, "loss", **EVERY_TWO_STEPS, patience=2)


class TestEarlyStoppingHookWithTheBestWeights(HookContract):
    changes_weights = True

    def hook(self):
        return mox.EarlyStoppingHook(
            {"loss": tf.constant(1.5)}, "loss", **EVERY_TWO_STEPS, patience=2, restore_best_weights=True
        )


class TestPlateauLREarlyStoppingHook(HookContract):
    changes_weights = True

    def hook(self):
        return mox.PlateauLREarlyStoppingHook({"loss": tf.constant(1.5)}, "loss", **EVERY_TWO_STEPS, patience=1)


class TestPlateauLREarlyStoppingHookWithoutAPlateau(HookContract):
    def hook(self):
        return mox.PlateauLREarlyStoppingHook({"loss": tf.constant(1.5)}, "loss", **EVERY_TWO_STEPS, patience=9)
