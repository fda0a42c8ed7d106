"""The names and flags that scripts of MoXing use."""

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
    assert done.stdout == "moxing.framework.common belonged to the platform, and is not there.\n"
    assert "mox.cache has no effect" in done.stderr


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
