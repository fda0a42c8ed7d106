"""Moving averages of Keras's optimizers (`use_ema`), which are used wherever a model is: as after `keras.Model.fit`."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox
from checkpoints import values_of

X = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [2.0], [-1.0]]) + 0.3).astype(np.float32)
STEPS = 7

OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.5, use_ema=True, ema_momentum=0.9),
    "overwriting": lambda: keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
    "accumulating": lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=3, use_ema=True, ema_momentum=0.9),
    "LossScaleOptimizer": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9)
    ),
}


def dense():
    return keras.layers.Dense(1, kernel_initializer="ones", name="d")


def input_fn(mode):
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data


def model_fn(inputs, mode, make_hooks=lambda _: [], layer=None):
    del mode
    predictions = (layer or dense())(inputs[0])
    loss = tf.reduce_mean((predictions - inputs[1]) ** 2)
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss},
        output_info={"y": predictions},
        export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": predictions}),
        hooks=make_hooks(loss),
    )


def train(make, folder, *, steps=STEPS, replicas=1, **options):
    arguments = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 8 // replicas, "log_dir": folder, **options}
    return mox.run(optimizer_fn=make, run_mode=mox.ModeKeys.TRAIN, max_number_of_steps=steps, **arguments)


def fitted(make, steps=STEPS):
    """The layer and the loss over the set, after `fit` with the same batches."""
    layer = dense()
    model = keras.Sequential([keras.Input([3]), layer])
    model.compile(make(), "mse")
    rows = np.arange(8 * steps) % 40
    model.fit(X[rows], Y[rows], batch_size=8, shuffle=False, verbose=0)
    return layer, model.evaluate(X, Y, batch_size=40, verbose=0)


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_averages_are_evaluated_predicted_exported_and_saved_and_training_goes_on_from_the_weights(case, tmp_path):
    make = OPTIMIZERS[case]
    layer, loss = fitted(make)
    result = train(make, tmp_path / "whole", export_model=mox.ExportKeys.TF_SERVING)
    whole = values_of(result.checkpoint)
    np.testing.assert_allclose(whole["d/kernel"], layer.kernel.numpy(), atol=1e-6)
    assert np.abs(whole["mox/trained/d/kernel"] - whole["d/kernel"]).max() > 1e-3
    signature = tf.saved_model.load(result.export_path).signatures["serving_default"]
    exported = signature(x=tf.constant(X))["y"].numpy()
    assert np.mean((exported - Y) ** 2) == pytest.approx(loss, abs=1e-6)
    job = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 40, "log_dir": tmp_path / "whole"}
    assert mox.run(run_mode=mox.ModeKeys.EVAL, **job).metrics["loss"] == pytest.approx(loss, abs=1e-6)
    outputs = []
    mox.run(run_mode=mox.ModeKeys.PREDICT, output_fn=outputs.extend, output_every_n_steps=1, **job)
    np.testing.assert_allclose(outputs[0]["y"], exported, atol=1e-6)
    train(make, tmp_path / "parts", steps=4)
    parts = values_of(train(make, tmp_path / "parts").checkpoint)
    assert [name for name in whole if name != "mox/seed" and not np.array_equal(parts[name], whole[name])] == []


@pytest.mark.slow
def test_averages_on_two_devices_are_those_of_one(tmp_path):
    program = (
        "import json, sys, importlib.util, pathlib, numpy as np, mox_core as mox\n"
        "mox.set_flag('num_gpus', 2); mox.set_flag('clone_on_cpu', True)\n"
        f"sys.path.append({str(Path(forked.__file__).parent)!r})\n"
        f"spec = importlib.util.spec_from_file_location('cases', {str(Path(__file__))!r})\n"
        "cases = importlib.util.module_from_spec(spec); spec.loader.exec_module(cases)\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "found = {}\n"
        "for name, make in cases.OPTIMIZERS.items():\n"
        "    result = cases.train(make, folder / name, replicas=2)\n"
        "    job = dict(input_fn=cases.input_fn, model_fn=cases.model_fn, batch_size=20, log_dir=folder / name)\n"
        "    loss = mox.run(run_mode=mox.ModeKeys.EVAL, **job).metrics['loss']\n"
        "    cases.train(make, folder / (name + ' parts'), steps=4, replicas=2)\n"
        "    parts = cases.values_of(cases.train(make, folder / (name + ' parts'), replicas=2).checkpoint)\n"
        "    whole = cases.values_of(result.checkpoint)\n"
        "    same = all(np.array_equal(parts[each], whole[each]) for each in whole if each != 'mox/seed')\n"
        "    found[name] = [whole['d/kernel'].ravel().tolist(), loss, same]\n"
        "print(json.dumps(found))\n"
    )
    done = forked.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, (kernel, loss, same) in json.loads(done.stdout.splitlines()[-1]).items():
        layer, expected = fitted(OPTIMIZERS[name])
        np.testing.assert_allclose(kernel, layer.kernel.numpy().ravel(), atol=1e-6)
        assert loss == pytest.approx(expected, abs=2e-6)
        assert same


@pytest.mark.slow
def test_with_parameter_servers_averages_are_saved_and_exported_and_a_validation_beside_them_is_refused(run_job):
    program = """
        def averaging():
            return keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9)

        try:
            train("refused", averaging, inter_mode=mox.ModeKeys.EVAL)
        except mox.UsageError as error:
            refused = str(error)
        path = train("log", averaging, export_model=mox.ExportKeys.TF_SERVING).export_path
        signature = tf.saved_model.load(path).signatures["serving_default"]
        exported = signature(features=tf.constant(FEATURES))["predictions"].numpy().tolist()
        loss = evaluate("log").metrics["loss"]
        saved = variables("log")
        resumed = train("log", averaging, steps=20)
        tell(refused=refused, exported=exported, loss=loss, saved=saved, steps=resumed.steps, begun=variables("log"))
    """
    result = run_job(program, ps=1, sync=0)
    assert set(result["codes"].values()) == {0}, result["logs"]["worker-0"]
    told = result["told"]["worker-0"]
    assert told["refused"].startswith("an optimizer with use_ema=True, --ps_hosts and inter_mode: ")
    saved = told["saved"]
    assert saved["weights"] == saved["sgd/weights_0_average"]
    assert np.abs(np.subtract(saved["mox/trained/weights"], saved["weights"])).max() > 1e-3
    x = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)  # those of job.py
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.25 + 0.1 * np.sin(np.arange(40))
    expected = x @ np.array(saved["weights"]) + saved["bias"]
    np.testing.assert_allclose(told["exported"], expected, atol=1e-6)
    assert told["loss"] == pytest.approx(np.mean((expected - y) ** 2), abs=1e-6)
    assert (told["steps"], told["begun"]) == (0, saved)  # a resumed run has both


def test_validation_sees_averages_and_the_best_ones_are_brought_back(tmp_path):
    seen = []

    class Watch(mox.EarlyStoppingHook):
        def evaluated(self, run_context, means):
            seen.append(means["loss"])
            super().evaluated(run_context, means)

    def hooks(loss):  # the highest loss is that of the first step
        return [Watch({"loss": loss}, "loss", 8, 8, 40, patience=100, mode="max", restore_best_weights=True)]

    make = OPTIMIZERS["momentum"]
    result = train(
        make,
        tmp_path / "log",
        steps=3,
        model_fn=lambda inputs, mode: model_fn(inputs, mode, hooks),
        inter_mode=mox.ModeKeys.EVAL,
    )
    after = [fitted(make, steps) for steps in (1, 2, 3)]
    assert seen == pytest.approx([loss for _, loss in after], abs=1e-6)
    found = values_of(result.checkpoint)
    np.testing.assert_allclose(found["d/kernel"], after[0][0].kernel.numpy(), atol=1e-6)
    assert found["sgd/iteration"] == 1


def test_a_checkpoint_before_the_first_update_holds_initial_values(tmp_path):
    train(OPTIMIZERS["momentum"], tmp_path, steps=1)
    first = values_of(tmp_path / "model.ckpt-0")
    np.testing.assert_array_equal(first["d/kernel"], np.ones([3, 1]))
    assert not [name for name in first if name.startswith("mox/trained")]


def test_a_training_of_other_kind_begins_from_the_averages(tmp_path):
    averages = values_of(train(OPTIMIZERS["momentum"], tmp_path / "first").checkpoint)
    mox.set_flag("checkpoint_exclude_patterns", "global_step")
    try:
        train(lambda: keras.optimizers.SGD(0.1), tmp_path / "tuned", checkpoint_path=tmp_path / "first", steps=1)
    finally:
        mox.set_flag("checkpoint_exclude_patterns", "")
    tuned = values_of(tmp_path / "tuned" / "model.ckpt-0")
    np.testing.assert_array_equal(tuned["d/kernel"], averages["d/kernel"])


def test_a_model_of_keras_from_outside_has_the_averages_when_a_run_has_ended(tmp_path):
    layer = keras.layers.Dense(1, kernel_initializer="ones", name="outside")
    layer.build([None, 3])
    make = OPTIMIZERS["momentum"]
    train(make, tmp_path, model_fn=lambda inputs, mode: model_fn(inputs, mode, layer=layer))
    np.testing.assert_allclose(layer.kernel.numpy(), fitted(make)[0].kernel.numpy(), atol=1e-6)


def test_an_optimizer_whose_state_begins_with_the_weights_keeps_it():
    """Momentum of ScheduleFreeAdamW begins as a copy of the weights: assigned once, and not in each step."""
    layer = dense()
    model = keras.Sequential([keras.Input([3]), layer])
    optimizer = keras.optimizers.ScheduleFreeAdamW(0.05)
    optimizer.build(model.trainable_variables)
    for step in range(3):
        rows = np.arange(8 * step, 8 * step + 8)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X[rows]) - Y[rows]) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
    own = keras.layers.Dense(1, kernel_initializer="ones", name="own")
    own.build([None, 3])
    train(
        lambda: keras.optimizers.ScheduleFreeAdamW(0.05),
        None,
        steps=3,
        model_fn=lambda inputs, mode: model_fn(inputs, mode, layer=own),
    )
    np.testing.assert_allclose(own.kernel.numpy(), layer.kernel.numpy(), atol=1e-6)
