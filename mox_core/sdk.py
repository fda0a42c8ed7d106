"""What plugins build on beside the names on `mox.`: it stays as it is, while `mox_core.engine` may change.

It imports TensorFlow: a plugin's entry module (`plugin.py`) names what uses it, and does not import it.
"""

from __future__ import annotations

from mox_core.datasets.whole_sets import sync_to_disk
from mox_core.engine.checkpoint.resume import input_from_the_start
from mox_core.engine.export import ExportedModel
from mox_core.engine.hooks.hook_variable import hook_variable
from mox_core.engine.input.bad_samples import BadSampleReport
from mox_core.engine.input.epochs import Blocks
from mox_core.engine.input.image_decoding import ENCODED, decode_image
from mox_core.engine.input.image_functions import (
    apply_augmentation,
    apply_preprocessing,
    make_image,
    resize_image,
)
from mox_core.engine.input.order import Order
from mox_core.engine.input.sample_source import Fetch, SampleSource, parallel_reads
from mox_core.engine.input.script_reads import read_once, read_source
from mox_core.engine.log_setup import info_logging
from mox_core.engine.optimizer.gradients import loss_with_gradients
from mox_core.engine.optimizer.train_step import LEARNING_RATE_FACTORS
from mox_core.engine.optimizer.unfreezing import UNFREEZING
from mox_core.engine.optimizer.wrappers import (
    OptimizerWrapper,
    apply_if,
    independent_workers,
    number_of_workers,
    slot,
    state_variable,
    sum_over_workers,
)
from mox_core.engine.randomness import fold
from mox_core.engine.run_folder import run_folder
from mox_core.engine.tensors import (
    PYTHON_OPS,
    READABLE,
    Dataset,
    Features,
    captured_constant,
    features_of,
    no_autograph,
    zeros_of_spec,
)
from mox_core.engine.tf_internals.eager_context import outside_of_graphs
from mox_core.engine.tf_internals.keras_names import fresh_layer_names
from mox_core.engine.tf_internals.optimizers import learning_rate_of
from mox_core.engine.tf_patches.tf1_layers import slim_layers
from mox_core.metric_text import metric_text

__all__ = [
    "ENCODED",
    "LEARNING_RATE_FACTORS",
    "PYTHON_OPS",
    "READABLE",
    "UNFREEZING",
    "BadSampleReport",
    "Blocks",
    "Dataset",
    "ExportedModel",
    "Features",
    "Fetch",
    "OptimizerWrapper",
    "Order",
    "SampleSource",
    "apply_augmentation",
    "apply_if",
    "apply_preprocessing",
    "captured_constant",
    "decode_image",
    "features_of",
    "fold",
    "fresh_layer_names",
    "hook_variable",
    "independent_workers",
    "info_logging",
    "input_from_the_start",
    "learning_rate_of",
    "loss_with_gradients",
    "make_image",
    "metric_text",
    "no_autograph",
    "number_of_workers",
    "outside_of_graphs",
    "parallel_reads",
    "read_once",
    "read_source",
    "resize_image",
    "run_folder",
    "slim_layers",
    "slot",
    "state_variable",
    "sum_over_workers",
    "sync_to_disk",
    "zeros_of_spec",
]
