"""The names that the first-party distributions offer, for errors that say what to install.

It is a table because a distribution that is not installed cannot be asked. A test in `tests/together` compares it with
the installed plugins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESNETS: Final = (
    "resnet_v1_18",
    "resnet_v1_20",
    "resnet_v1_34",
    "resnet_v1_50",
    "resnet_v1_101",
    "resnet_v1_110",
    "resnet_v1_152",
    "resnet_v1_200",
    "resnet_v2_50",
    "resnet_v2_101",
    "resnet_v2_152",
    "resnet_v2_200",
)

_PREPARED: Final = (
    "beans",
    "cats_vs_dogs",
    "cifar100",
    "eurosat",
    "fashion_mnist",
    "food101",
    "horses_or_humans",
    "kmnist",
    "oxford_flowers102",
    "oxford_iiit_pet",
    "parquet",
    "rock_paper_scissors",
    "stanford_dogs",
    "svhn_cropped",
    "tf_flowers",
    "tfds",
)

_APPLICATIONS: Final = (
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large", "xlarge")),
    *(f"densenet_{layers}" for layers in (121, 169, 201)),
    *(f"efficientnet_b{number}" for number in range(8)),
    *(f"efficientnet_v2_{size}" for size in ("b0", "b1", "b2", "b3", "s", "m", "l")),
    *("inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"),
    *("mobilenet_v3_small", "nasnet_large", "nasnet_mobile", "resnet_50", "resnet_50_v2", "resnet_101"),
    *("resnet_101_v2", "resnet_152", "resnet_152_v2", "vgg_16", "vgg_19", "xception"),
)

_SLIM_NETS: Final = (
    "alexnet_v2",
    "cifarnet",
    "inception_resnet_v2",
    "inception_v1",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "lenet",
    "mobilenet_v1",
    "mobilenet_v1_025",
    "mobilenet_v1_050",
    "mobilenet_v1_075",
    "mobilenet_v2",
    "mobilenet_v2_035",
    "mobilenet_v2_140",
    "nasnet_cifar",
    "nasnet_large",
    "nasnet_mobile",
    "overfeat",
    "pnasnet_large",
    "pnasnet_mobile",
    "resnext_b_101",
    "resnext_b_50",
    "resnext_c_101",
    "resnext_c_50",
    "vgg_16",
    "vgg_16_bn",
    "vgg_19",
    "vgg_19_bn",
    "vgg_a",
    "vgg_a_bn",
    "xception_41",
    "xception_65",
    "xception_71",
)

_STORES: Final = (
    "abfs",
    "abfss",
    "az",
    "ftp",
    "gcs",
    "gs",
    "hdfs",
    "memory",
    "obs",
    "oci",
    "oss",
    "s3",
    "s3a",
    "sftp",
    "smb",
    "webhdfs",
)

FIRST_PARTY: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "mox-applications": {"mox_networks": _APPLICATIONS, "mox_augmentations": _APPLICATIONS},
    "mox-auto": {"mox_api": ("auto",)},
    "mox-datasets-raw": {
        "mox_api": (
            "ArrayDataset",
            "AsyncRawGenerator",
            "ImageClassificationRawDataset",
            "ImageClassificationRawMetadata",
            "MultilabelClassificationRawDataset",
            "MultilabelClassificationRawMetadata",
            "split_image_classification_dataset",
        ),
    },
    "mox-export": {"mox_exporters": ("FROZEN_PB", "ONNX", "TFLITE", "TF_SERVING")},
    "mox-file": {"mox_stores": _STORES, "mox_api": ("file",)},
    "mox-hooks": {
        "mox_api": (
            "EarlyStoppingHook",
            "FeedSessionRunHook",
            "GradualUnfreezingHook",
            "LogEvaluationMetricHook",
            "PlateauLREarlyStoppingHook",
            "WorstSamplesHook",
        ),
    },
    "mox-lars": {"mox_optimizer_wrappers": ("lars",)},
    "mox-optimizers": {
        "mox_optimizers": ("adadelta", "adagrad", "adam", "ftrl", "momentum", "rmsprop", "sgd"),
        "mox_optimizer_wrappers": ("batch_gradients", "easgd", "rate_multipliers"),
        "mox_api": (
            "DyMomentumOptimizer",
            "DyMomentumWOptimizer",
            "SimpleSyncOptimizer",
            "learning_rate_scheduler",
        ),
    },
    "mox-report": {"mox_commands": ("report",)},
    "mox-resnet": {"mox_networks": _RESNETS, "mox_augmentations": _RESNETS},
    "mox-slim-nets": {"mox_augmentations": _SLIM_NETS, "mox_networks": _SLIM_NETS},
    "mox-tfds": {"mox_datasets": _PREPARED},
    "mox-tf1": {"mox_commands": ("tf1",)},
    "mox-tfrecord": {
        "mox_api": (
            "BaseTFRecordDataset",
            "BaseTFRecordMetadata",
            "ImageClassificationTFRecordDataset",
            "ImageClassificationTFRecordMetadata",
            "ProgressiveImagenetDataset",
            "get_tfrecord",
            "tfexample_decoder",
            "write_image_classification_tfrecords",
        ),
        "mox_commands": ("tfrecord",),
        "mox_datasets": ("cifar10", "flowers", "imagenet", "mnist"),
    },
    "mox-trackers": {"mox_trackers": ("csv", "mlflow", "wandb")},
}
"""For each distribution, the names that it offers by each hook."""

MOXING_ALONE: Final[Mapping[str, str]] = {
    "pvanet": "mobilenet_v2",
    "resnet_v1_50_8k": "resnet_v1_50",
    "resnet_v1_50_mox": "resnet_v1_50",
    "resnet_v1_50_oct": "resnet_v1_50",
}
"""Networks of MoXing that no distribution here offers, each with the one that is nearest to it."""
