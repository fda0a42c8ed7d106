"""The names and flags that scripts of MoXing use."""

import json

NAMES = """
import tensorflow as tf
import moxing
import moxing.tensorflow as mox
from moxing.tensorflow.executor import run, get_flag, set_flag, get_collection, var_scope, ModeKeys, ModelSpec
from moxing.tensorflow.executor import ExportSpec, ExportKeys, AggregativeSessionRunHook, LogEvaluationMetricHook
from moxing.tensorflow.executor import EarlyStoppingHook, PlateauLREarlyStoppingHook
from moxing.tensorflow.executor.hooks import FeedSessionRunHook
from moxing.tensorflow.executor.ops_adapter import size, rank
from moxing.tensorflow.executor import ops_adapter
from moxing.tensorflow.optimizer import get_optimizer_fn, get_optimizer_wrapper_fn, OptimizerKeys
from moxing.tensorflow.optimizer.learning_rate_scheduler import piecewise_lr, linear_cosine_decay, polynomial_decay
from moxing.tensorflow.optimizer import learning_rate_scheduler
from moxing.tensorflow.datasets import get_tfrecord, get_dataset, get_dataset_meta, ImageClassificationRawMetadata
from moxing.tensorflow.datasets import MultilabelClassificationRawMetadata, ImageClassificationTFRecordMetadata
from moxing.tensorflow.datasets import AsyncRawGenerator
from moxing.tensorflow.datasets.tfrecord_common import BaseTFRecordDataset, BaseTFRecordMetadata
from moxing.tensorflow.datasets.tfrecord_image import ProgressiveImagenetDataset
from moxing.tensorflow.datasets.raw.raw_dataset import split_image_classification_dataset
from moxing.tensorflow.datasets.reader.raw_reader import split_image_classification_dataset as old
from moxing.tensorflow.nets import get_model_fn, get_model_meta, NetworkKeys
from moxing.tensorflow.nets.nets_factory import NetworkKeys as keys
from moxing.tensorflow.preprocessing import get_data_augmentation_fn, PreprocessingKeys
from moxing.tensorflow.utils.hyper_param_flags import mox_flags
from moxing.tensorflow.utils import tf_util
from moxing.framework.util import compat, runtime

assert run is mox.run and old is split_image_classification_dataset and keys is NetworkKeys
assert (size(), rank(), ops_adapter.size()) == (1, 0, 1) and tf_util.version_info() > (1, 13, 0)
assert compat.as_str(b'text') == 'text' and keys.RESNET_V1_50 == 'resnet_v1_50' and OptimizerKeys.ADAM == 'adam'
runtime.reset_logger(level=20)
assert '--num_gpus=1: ' in mox_flags.get_help()
mox.cache()
assert mox.InputSpec is not None and mox.auto.ParamSpec(momentum=0.9).momentum == 0.9
assert mox.AsyncRawGenerator is not None and mox.ProgressiveImagenetDataset is not None
try:
  from moxing.framework.common import task_enum
except ImportError as e:
  print(e)
from moxing.tensorflow.optimizer.dynamic_momentum import DyMomentumOptimizer
from moxing.tensorflow.optimizer.dynamic_momentumw import DyMomentumWOptimizer
from moxing.tensorflow.optimizer.simple_sync_optimizer import SimpleSyncOptimizer
"""


def test_every_public_name_imports_by_its_path_or_says_what_to_use_instead(tf1):
    done = tf1(NAMES)
    assert done.stdout.startswith("moxing.framework.common.task_enum belonged to the platform, and is not there")
    assert "mox.cache is not needed: what goes to a remote store is written on this machine first" in done.stderr


PATHS = {
    "import moxing as mox; mox.file.File": "",
    "import moxing as mox; mox.run": "moxing.run is not there: it is in moxing.tensorflow.",
    "import moxing.mxnet as mox": "mox trains with TensorFlow only",
    "import moxing.pytorch as mox": "mox trains with TensorFlow only",
    "from moxing.tensorflow.optimizer.dynamic_momentum import DyMomentumOptimizer": "",
    "from moxing.tensorflow.optimizer.dynamic_momentumw import DyMomentumWOptimizer": "",
    "from moxing.tensorflow.optimizer.simple_sync_optimizer import SimpleSyncOptimizer": "",
    "from moxing.tensorflow.datasets import AsyncRawGenerator": "",
    "from moxing.tensorflow.datasets import ImageClassificationRawDataset, MultilabelClassificationRawDataset": "",
    "from moxing.tensorflow.datasets.tfrecord_common import ImageClassificationTFRecordDataset": "",
    "from moxing.tensorflow.datasets.tfrecord_image import ProgressiveImagenetDataset": "",
    "from moxing.tensorflow.datasets import dataset_utils": "",
    "import moxing.tensorflow as mox; mox.InputSpec": "",
    "import moxing.tensorflow as mox; mox.auto.search": "",
    "from moxing.tensorflow.builtin_algorithms import train": "builtin_algorithms.train was a program of the platform",
    "from moxing.framework import file; file.copy_parallel": "",
    "from moxing.framework.file import file_io; file_io._NUMBER_OF_PROCESSES": "",
    "from moxing.framework.util import compat; compat.as_str": "",
    "from moxing.framework.util.runtime import reset_logger, mpi_local_sync_barrier": "",
    "from moxing.framework.common import task_enum": "moxing.framework.common.task_enum belonged to the platform, and",
    "from moxing.framework.common.metrics import object_detection_metrics": "moxing.framework.common.metrics belonged",
    "from moxing.framework.data import manifest_metadata": "moxing.framework.data.manifest_metadata belonged to the",
    "from moxing.framework.unittest import base": "moxing.framework.unittest.base belonged to the platform, and is not",
}
"""Paths of the original, and the sentence that says why one is not there; '' for one that is."""


def test_every_path_of_the_original_imports_or_says_in_a_sentence_why_not(tf1):
    script = f"""
import json
found = {{}}
for line in {list(PATHS)!r}:
  try:
    exec(line)
    found[line] = ''
  except (ImportError, AttributeError) as e:
    found[line] = str(e)
print(json.dumps(found))
"""
    found = json.loads(tf1(script).stdout)
    for line, sentence in PATHS.items():
        assert found[line].startswith(sentence), (line, found[line])
        assert bool(found[line]) is bool(sentence), (line, found[line])


FLAGS = {
    **dict.fromkeys(["task_index", "session_timeout", "num_inter_threads", "num_intra_threads", "min_size_in_kb"], 3),
    **dict.fromkeys(["var_space_starter", "var_mix_offset", "num_prefetch_threads", "warmup_steps"], 3),
    **dict.fromkeys(["num_gpus", "running_log_level", "dgc_total_samples"], 2),
    **dict.fromkeys(["ps_hosts", "worker_hosts", "controller_host"], "a:1,b:2"),
    **dict.fromkeys(["checkpoint_exclude_patterns", "checkpoint_include_patterns"], "global_step,logits"),
    **dict.fromkeys(["trainable_include_patterns", "trainable_exclude_patterns"], "conv1,conv2"),
    **dict.fromkeys(["sync_replicas", "chief_inc_global_step", "log_first_clone", "sync_before_server"], False),
    **dict.fromkeys(["use_fp16", "clone_on_cpu", "dgc_momentum_factor_masking"], True),
    "job_name": "controller",
    "variable_update": "distributed_replicated_dgc",
    "loss_scale": 1024.0,
    "gradient_clip_type": "norm",
    "gradient_clip": 5.0,
    "local_parameter_device": "gpu",
    "dgc_momentum": 0.5,
    "server_protocol": "grpc+verbs",
    "var_dtype": "fp32",
    "dgc_sparsity_strategy": "0.75,0.9375,0.999",
    "dgc_momentum_type": "vanilla",
}
"""Every flag of the original, with a value that its users gave it."""


def test_every_flag_of_the_original_is_taken_by_the_command_line_and_by_set_flag(tf1):
    script = f"""
import json
import moxing.tensorflow as mox
flags = {FLAGS!r}
given = {{name: mox.get_flag(name) for name in flags}}
for name, value in flags.items():
  mox.set_flag(name, value)
  assert mox.get_flag(flag_name=name) == value
print(json.dumps(given))
"""
    assert json.loads(tf1(script, *(f"--{name}={value}" for name, value in FLAGS.items())).stdout) == FLAGS


def test_flags_without_a_meaning_are_taken_and_said_once_and_threads_work(tf1):
    done = tf1(
        """
        import tensorflow as tf
        import moxing.tensorflow as mox
        tf.flags.DEFINE_string('log_dir', None, 'a name that absl has taken since')
        tf.flags.DEFINE_string('data_url', './', '')
        tf.flags.DEFINE_integer('warmup_steps', 7, 'the script means something else by it')
        flags = tf.flags.FLAGS
        print(flags.log_dir, flags.data_url == '', flags.warmup_steps)
        mox.set_flag('variable_update', 'parameter_server')
        mox.set_flag('variable_update', 'replicated')
        mox.set_flag('loss_scale', 1024.0)
        print(mox.get_flag('variable_update'), mox.get_flag('num_gpus'), mox.get_flag('dgc_momentum_type'))
        mox.run(input_fn=lambda mode: tf.constant(0.0), run_mode=mox.ModeKeys.TRAIN, batch_size=1,
                model_fn=lambda inputs, mode: mox.ModelSpec(loss=tf.get_variable('w', [])),
                optimizer_fn=mox.get_optimizer_fn('sgd', learning_rate=0.1), max_number_of_steps=1)
        print(tf.config.threading.get_intra_op_parallelism_threads())
        """,
        "--log_dir=logs",
        "--data_url=",
        "--warmup_steps=3",
        "--num_intra_threads=2",
        "--dgc_sparsity_strategy=0.75,0.9375",
    )
    assert done.stdout == "logs True 3\nreplicated 1 vanilla\n2\n"
    assert done.stderr.count("flag variable_update has no effect") == 1
    assert done.stderr.count("flag dgc_sparsity_strategy has no effect: mox has no gradient compression.") == 1
    assert "warmup_steps" not in done.stderr
    assert "num_intra_threads" not in done.stderr
