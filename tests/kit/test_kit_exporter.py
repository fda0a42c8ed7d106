"""ExporterContract finds what is wrong with an exporter, and nothing in a good one."""

import pytest
import tensorflow as tf

from mox_core.testing import ExporterContract

SOURCE = """
import os
import pathlib

import tensorflow as tf

from mox_core.plugins import ExporterOffer, hookimpl

@hookimpl
def mox_exporters():
    yield ExporterOffer("KIT", "kit.plugin:export", summary="a SavedModel and its names")

class Holder(tf.Module):
    def __init__(self, variables):
        super().__init__()
        self.kept = variables

def export(model, directory):
    inputs, outputs = model.inputs, lambda given: given
    function = tf.function(lambda **given: outputs(model.function(**given)), autograph=False)
    signature = function.get_concrete_function(**inputs)
    tf.saved_model.save(Holder(model.variables), directory, signatures=signature)
    pathlib.Path(directory, "names.txt").write_text(", ".join(inputs))
"""
OUTPUTS = "lambda given: given"
PREDICTS, SIZES, MODEL, DISK = (
    "test_what_is_loaded_back_predicts_what_the_model_predicted",
    "test_what_is_loaded_back_takes_batches_of_any_size",
    "test_an_error_of_the_model_leaves_nothing",
    "test_an_error_of_the_disk_leaves_nothing",
)
CARELESS = """
def careless(model, directory):
    try:
        export(model, directory)
    except Exception:
        LEFT
"""


@pytest.fixture
def contract():
    class Contract(ExporterContract):
        exporter = "KIT"

        def predict(self, folder, inputs):
            signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
            return signature(**{name: tf.constant(value) for name, value in inputs.items()})

    return Contract


def test_a_good_exporter_passes(install, run_check, contract):
    install(SOURCE)
    run_check(contract)


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        (
            OUTPUTS,
            "lambda given: {'output_' + name: value for name, value in given.items()}",
            PREDICTS,
            "has the outputs ['output_logits', 'output_score'], and the model has ['logits', 'score']: keep the names",
        ),
        (OUTPUTS, "lambda given: {name: 1.01 * value for name, value in given.items()}", PREDICTS, "off what PREDICT"),
        (
            "model.function(**given)",
            "model.function(left=given['right'], right=given['left'])",
            PREDICTS,
            "output 'logits' of what exporter 'KIT' writes is up to ",
        ),
        (
            OUTPUTS,
            "lambda given: {**given, 'score': given['score'][:, None]}",
            PREDICTS,
            "has the shape (6, 1); expect",
        ),
        ("function = tf", "raise ValueError('no')\n    function = tf", PREDICTS, "exporting by exporter 'KIT' fails: "),
        (
            "model.function(**given)",
            "model.function(left=tf.ensure_shape(given['left'], [6, 3]), right=given['right'])",
            SIZES,
            "predict() of what exporter 'KIT' writes, with 1 samples fails: ",
        ),
        (
            OUTPUTS,
            "lambda given: {n: v + float(len(inputs)) for n, v in given.items()}",
            SIZES,
            "for a batch of one sam",
        ),
    ],
)
def test_what_is_wrong_is_found(install, caught, contract, old, new, check, words):
    install(SOURCE, (old, new))
    caught(contract, check, words)


@pytest.mark.parametrize(
    ("left", "check", "words"),
    [
        (
            "pass",
            MODEL,
            "passes over an error of the model's function, and a half model is exported: let what is raised",
        ),
        ("pass", DISK, "passes over an error of the disk, and a half model is exported"),
        (
            "pathlib.Path(directory).parent.joinpath('7').mkdir(); raise",
            MODEL,
            "leaves 7 in log_dir after an error of the model's function: write into the folder that you are given",
        ),
    ],
)
def test_an_exporter_that_is_careless_with_errors_is_found(install, caught, contract, left, check, words):
    install(SOURCE + CARELESS.replace("LEFT", left), ("kit.plugin:export", "kit.plugin:careless"))
    caught(contract, check, words)


def test_an_exporter_that_writes_nothing_is_found(install, caught, contract):
    nothing = "def nothing(model, directory):\n    model.function(**{n: tf.zeros([1, 3]) for n in model.inputs})\n"
    install(SOURCE + nothing, ("kit.plugin:export", "kit.plugin:nothing"))
    caught(contract, MODEL, "exporter 'KIT' writes nothing into the folder that it is given")


def test_a_contract_without_its_method_says_which(install, caught):
    install(SOURCE)

    class Contract(ExporterContract):
        exporter = "KIT"

    caught(Contract, PREDICTS, "fails: NotImplementedError: Contract lacks the method `predict`")
