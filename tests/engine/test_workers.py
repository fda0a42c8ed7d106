"""Workers that step together: real processes on this machine, against the numbers of one process."""

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

TRAINING = """
    train("momentum", export_model=mox.ExportKeys.TF_SERVING, save_summary_steps=5)
    train("keras", adam)
    mox.set_flag("loss_scale", "dynamic")
    mox.set_flag("gradient_clip_type", "norm")
    mox.set_flag("gradient_clip", 0.5)
    train("scaled", lambda: mox.get_optimizer_wrapper_fn(
        "batch_gradients", tf.compat.v1.train.AdamOptimizer(0.05), num_batches=3)())
    names = ("momentum", "keras", "scaled")
    tell(
        files=sorted({each.name for each in folder.glob(f"{index}/*/*")}),
        values={name: variables(name) for name in names} if index == 0 else None,
    )
"""


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_workers_train_as_one_with_batches_as_large_as_all_of_theirs(told, regression, replicas):
    one = told(TRAINING, workers=1)["worker-0"]["values"]
    several = told(TRAINING, replicas=replicas)
    found = several["worker-0"]["values"]
    expected = regression.train(20, batch_size=8, rate=0.1, momentum=0.9)
    np.testing.assert_allclose(found["momentum"]["weights"], expected.weights, atol=1e-5)
    np.testing.assert_allclose(found["momentum"]["bias"], expected.bias, atol=1e-5)
    np.testing.assert_allclose(found["momentum"]["weights/Momentum"], expected.slots[:3], atol=1e-5)
    for name, values in one.items():
        assert values.keys() == found[name].keys()  # a checkpoint does not tell how many workers there were
        for variable in values.keys() - {"mox/seed"}:
            np.testing.assert_allclose(
                found[name][variable], values[variable], atol=1e-5, err_msg=f"{name}: {variable}"
            )
    files = several["worker-0"]["files"]
    assert {"1", "checkpoint", "model.ckpt-20.index"} < set(files)  # '1' is the exported model
    assert any("tfevents" in name for name in files)
    assert several["worker-1"]["files"] == []  # only the chief writes


@pytest.mark.slow
def test_every_worker_logs_and_knows_what_the_chief_has_written(run_job):
    program = """
        result = train("log", export_model=mox.ExportKeys.TF_SERVING)
        tell(checkpoint=result.checkpoint, export_path=result.export_path, samples=result.samples, steps=result.steps)
    """
    result = run_job(program)
    chief, other = (result["told"][f"worker-{index}"] for index in (0, 1))
    assert chief == other
    assert (chief["samples"], chief["steps"]) == (160, 20)
    assert Path(chief["checkpoint"]).name == "model.ckpt-20"
    assert Path(chief["export_path"]).name == "1"
    for log in result["logs"].values():
        assert "INFO:tensorflow:step: 10(global step: 10)\tsample/sec: " in log
        assert "INFO:tensorflow:Training stops at global step 20: max_number_of_steps is reached." in log
    assert "Saving checkpoints for 20" in result["logs"]["worker-0"]
    assert "Saving checkpoints" not in result["logs"]["worker-1"]


EVALUATION = """
    train("log", steps=5)
    result = evaluate("log")
    outputs = []
    mox.run(
        input_fn=input_fn, model_fn=model_fn, run_mode=mox.ModeKeys.PREDICT, batch_size=7, log_dir=log_dir("log"),
        output_fn=outputs.extend, output_every_n_steps=2,
    )
    tell(
        metrics=result.metrics, samples=result.samples,
        targets=np.concatenate([each["targets"] for each in outputs]).tolist(),
        sizes=[len(each["targets"]) for each in outputs],
    )
"""


@pytest.mark.slow
def test_workers_evaluate_and_predict_every_sample_once_and_get_the_figures_of_one(told):
    alone = told(EVALUATION, workers=1)["worker-0"]
    workers = told(EVALUATION)
    for worker in workers.values():
        assert worker["samples"] == alone["samples"] == 40
        assert worker["metrics"]["loss"] == pytest.approx(alone["metrics"]["loss"], rel=1e-5)
        assert worker["sizes"] == [7, 7, 6]  # of its share, with the short batch at the end
    shares = [worker["targets"] for worker in workers.values()]
    assert sorted([*shares[0], *shares[1]]) == sorted(alone["targets"])


SHARES = """
    from PIL import Image

    images, records = folder / "images", folder / "records"
    images.mkdir(exist_ok=True)
    records.mkdir(exist_ok=True)
    if index == 0 and not (folder / "there").exists():
        with tf.io.TFRecordWriter(str(records / "a.tfrecord")) as plain:
            for number in range(11):
                feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))
                plain.write(tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString())
        (images / "one").mkdir()
        for number in range(11):
            Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(images / "one" / f"{number:02}.png")

    def records_fn(mode):
        dataset = mox.get_tfrecord(
            str(records), "*.tfrecord", num_epochs=1, shuffle=False,
            keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64)},
            items_to_handlers={"x": mox.tfexample_decoder.Tensor("x")},
        )
        (x,) = dataset.get(["x"])
        return tf.reshape(x, [])

    def images_fn(mode):
        meta = mox.ImageClassificationRawMetadata(str(images))
        dataset = mox.ImageClassificationRawDataset(meta, num_epochs=1, shuffle=False)
        (image,) = dataset.get(["image"])
        return tf.cast(image[0, 0, 0], tf.int64) // 20

    def data_fn(mode):
        return tf.data.Dataset.range(11)

    def read_fn(mode):
        return mox.get_next(tf.data.Dataset.range(11))

    def numbers(inputs, mode):
        scale = tf.compat.v1.get_variable("scale", initializer=1.0)
        loss = scale * tf.reduce_mean(tf.cast(inputs[0], tf.float32))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info={"x": inputs[0]})

    train("log", steps=1, model_fn=numbers, input_fn=lambda mode: tf.data.Dataset.range(11).repeat(), batch_size=2)
    found = {}
    for name, function in (("records", records_fn), ("images", images_fn), ("data", data_fn), ("read", read_fn)):
        found[name] = []
        mox.run(
            input_fn=function, model_fn=numbers, run_mode=mox.ModeKeys.PREDICT, batch_size=4, log_dir=log_dir("log"),
            output_fn=lambda outputs: [found[name].extend(each["x"].tolist()) for each in outputs],
            output_every_n_steps=1,
        )
    tell(**found)
"""


@pytest.mark.slow
def test_workers_read_disjoint_shares_that_are_complete(told):
    workers = told(SHARES)
    for source in ("records", "images", "data", "read"):
        first, second = (workers[f"worker-{index}"][source] for index in (0, 1))
        assert (first, second) == (list(range(0, 11, 2)), list(range(1, 11, 2))), source


@pytest.mark.slow
def test_a_generator_cannot_be_shared_and_says_so_once(run_job):
    program = """
        def generated(mode):
            def numbers():
                while True:
                    yield from zip(FEATURES, TARGETS)
            shapes = tf.TensorSpec([3]), tf.TensorSpec([])
            return tf.data.Dataset.from_generator(numbers, output_signature=shapes).map(lambda *sample: sample)

        train("log", steps=3, input_fn=generated)
    """
    result = run_job(program)
    assert set(result["codes"].values()) == {0}
    for log in result["logs"].values():
        assert log.count("comes from a Python generator (tf.data.Dataset.from_generator), which cannot be divided") == 1


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_workers_that_share_no_disk(told, tmp_path):
    folder = tmp_path / "shared"
    told('train("log", adam, 7)', folder=folder)
    program = """
        train("log", adam, 14)
        train("whole", adam, 14)
        tell(parts=variables("log"), whole=variables("whole"))
    """
    values = told(program, workers=1, folder=folder)["worker-0"]
    assert values["parts"].keys() == values["whole"].keys()
    for name in values["whole"].keys() - {"mox/seed"}:
        np.testing.assert_allclose(values["parts"][name], values["whole"][name], atol=1e-5, err_msg=name)
    again = told('train("log", adam, 20)\nif index == 0:\n    tell(parts=variables("log"))', folder=folder)["worker-0"]
    expected = told('train("all", adam, 20)\ntell(all=variables("all"))', workers=1)["worker-0"]["all"]
    for name in ("weights", "bias", "mox/input_positions", "global_step"):
        np.testing.assert_allclose(again["parts"][name], expected[name], atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_resumed_run_of_workers_is_one_without_a_stop(told):
    program = """
        def dropped(inputs, mode):
            features = tf.nn.dropout(inputs[0], 0.3) if mode == mox.ModeKeys.TRAIN else inputs[0]
            normed = keras.layers.BatchNormalization(name="norm")(features, training=mode == mox.ModeKeys.TRAIN)
            loss = line([normed, inputs[1]])[1]
            return mox.ModelSpec(loss=loss, log_info={"loss": loss})

        train("whole", adam, 14, model_fn=dropped)
        train("parts", adam, 7, model_fn=dropped)
        train("parts", adam, 14, model_fn=dropped)
        if index == 0:
            tell(whole=variables("whole"), parts=variables("parts"))
    """
    values = told("tf.random.set_seed(1)\n" + textwrap.dedent(program))["worker-0"]
    assert values["whole"] == values["parts"]


@pytest.mark.slow
def test_a_resumed_run_of_workers_is_one_without_a_stop_where_samples_were_left_out(told):
    """Sample 3 of 12 is bad: in each epoch the second worker gets a sample further than the first."""
    program = """
        from mox_core.sdk import SampleSource

        def fetch(index):
            with tf.control_dependencies([tf.debugging.assert_none_equal(index, tf.constant(3, tf.int64))]):
                return {"x": tf.gather(FEATURES, index), "y": tf.gather(TARGETS, index)}

        def samples(mode):
            read = SampleSource(num_samples=12, fetch=fetch, describe=str).read()
            return read["x"], read["y"]

        train("whole", adam, 14, input_fn=samples, save_summary_steps=100)
        train("parts", adam, 7, input_fn=samples, save_model_steps=2)
        train("parts", adam, 14, input_fn=samples, log_every_n_steps=3)
        if index == 0:
            tell(whole=variables("whole"), parts=variables("parts"))
    """
    values = told("tf.random.set_seed(1)\n" + textwrap.dedent(program))["worker-0"]
    (first,), (second,) = values["whole"]["mox/worker_positions"]
    # 14 batches of 4 are 56 samples of each worker; the second finds the bad one at every sixth of its places.
    assert (first, second) == (2 * 56, 2 * (56 + 11))
    assert values["whole"] == values["parts"]


@pytest.mark.slow
def test_moving_averages_are_those_of_all_workers(told):
    program = """
        def normed(inputs, mode):
            features = keras.layers.BatchNormalization(momentum=0.9, name="norm")(inputs[0], training=True)
            average = tf.compat.v1.get_variable("average", [], trainable=False, initializer=tf.zeros_initializer())
            average.assign_add(tf.cast(index, tf.float32))
            loss = line([features, inputs[1]])[1]
            return mox.ModelSpec(loss=loss, log_info={"loss": loss})

        train("log", steps=3, model_fn=normed)
        if index == 0:
            tell(**variables("log"))
    """
    found = told(program)["worker-0"]
    assert found["average"] == pytest.approx(1.5)  # three steps of (0 + 1) / 2
    features = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)[:24].reshape(3, 4, 2, 3)
    mean = np.zeros(3)
    for batch in features:  # samples go to the workers in turn
        mean = 0.9 * mean + 0.1 * batch.mean(axis=(0, 1))
    np.testing.assert_allclose(found["norm/moving_mean"], mean, atol=1e-5)
    variance = np.ones(3)
    for batch in features:
        variance = 0.9 * variance + 0.1 * batch.var(axis=0).mean(axis=0)
    np.testing.assert_allclose(found["norm/moving_variance"], variance, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere TensorFlow listens on all addresses")
@pytest.mark.parametrize("ps", [0, 1])
def test_a_job_on_loopback_is_reached_by_loopback_only(run_job, ps):
    program = """
        def look(run_context):
            hosts = (mox.get_flag("worker_hosts") + "," + mox.get_flag("ps_hosts")).strip(",").split(",")
            ports = [int(host.rpartition(":")[2]) for host in hosts]
            ips = "127.0.0.1", "127.0.0.2"
            tell(seen=[[socket.socket().connect_ex((ip, port)) == 0 for port in ports] for ip in ips])

        train("log", model_fn=with_hooks(at_step(2, look)))
    """
    result = run_job(program, ps=ps, sync=0 if ps else 1)
    assert set(result["codes"].values()) == {0}
    assert result["told"]["worker-0"]["seen"] == [[True] * (2 + ps), [False] * (2 + ps)]
