"""The manual's chapter 4.4: a network of mox-resnet that was asked for in NCHW, in every format, on a CPU."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.catalog import find_target
from mox_core.plugins import ExporterOffer

SIZE, CLASSES = 20, 3
IMAGES = np.random.default_rng(1).integers(0, 256, [8, SIZE, SIZE, 3]).astype(np.float32)
LABELS = np.arange(8) % CLASSES


def _input_fn(mode):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def _model_fn(inputs, mode):
    """The manual's model, with a variable of tf.Variable in the loss (box 4-4-4)."""
    images, labels = inputs
    logits, _ = mox.get_model_fn(
        "resnet_v1_20", run_mode=mode, num_classes=CLASSES, weight_decay=1e-4, data_format="NCHW", batch_norm_fused=True
    )(images)
    logits = tf.identity(logits * tf.Variable(1.5, name="temperature"), name="logits")
    loss = tf.compat.v1.losses.softmax_cross_entropy(tf.one_hot(labels, CLASSES), logits)
    return mox.ModelSpec(
        loss=loss,
        output_info={"logits": logits},
        export_spec=mox.ExportSpec(inputs_dict={"images": images}, outputs_dict={"logits": logits}),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder with a folder for each format, and the logits of PREDICT, which computes what TRAIN has made."""
    log_dir = tmp_path_factory.mktemp("manual") / "log"

    def every_format(model, directory):
        for name in RUNTIMES:
            Path(directory, name).mkdir()
            find_target(ExporterOffer, name)(model, f"{directory}/{name}")

    result = mox.run(
        input_fn=_input_fn,
        model_fn=_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.AdamOptimizer(0.01),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=4,
        max_number_of_steps=2,
        log_dir=log_dir,
        export_model=every_format,
    )
    windows = []
    mox.run(
        input_fn=_input_fn,
        model_fn=_model_fn,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=3,
        checkpoint_path=log_dir,
        output_fn=windows.extend,
        output_every_n_steps=1,
    )
    logits = np.concatenate([step["logits"] for step in windows])
    assert np.ptp(logits) > 0.1, "the logits say nothing"
    return Path(result.export_path), logits


def _run_saved_model(folder):
    model = tf.saved_model.load(str(folder))
    return model.signatures["serving_default"](images=tf.constant(IMAGES))["logits"].numpy()


def _run_frozen_graph(folder):
    graph_def = tf.compat.v1.GraphDef.FromString((folder / "frozen_graph.pb").read_bytes())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run("logits:0", {"images:0": IMAGES})


def _run_litert(folder):
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(model_path=str(folder / "model.tflite")).get_signature_runner("serving_default")
    return model(images=IMAGES)["logits"]


def _run_onnx(folder):
    from onnxruntime import InferenceSession

    return InferenceSession(str(folder / "model.onnx")).run(["logits"], {"images": IMAGES})[0]


RUNTIMES = {
    "TF_SERVING": _run_saved_model,
    "FROZEN_PB": _run_frozen_graph,
    "TFLITE": _run_litert,
    "ONNX": _run_onnx,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_a_network_in_nchw_runs_on_a_cpu_in_every_format_and_gives_the_logits_of_predict(exported, name):
    folder, logits = exported
    with tf.device("/cpu:0"):
        # Averages of two steps are far from the data: the logits are some hundreds.
        np.testing.assert_allclose(RUNTIMES[name](folder / name), logits, atol=1e-4, rtol=1e-4)
