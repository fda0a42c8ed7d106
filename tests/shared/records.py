"""What files of records hold, as TensorFlow reads them."""

import tensorflow as tf


def features_of(*files):
    """Return the features of each record by name, the first value of each."""
    records = []
    for content in tf.data.TFRecordDataset([str(file) for file in files], buffer_size=2**20):
        features = tf.train.Example.FromString(content.numpy()).features.feature
        records.append(
            {
                name: (feature.bytes_list.value or feature.int64_list.value or feature.float_list.value)[0]
                for name, feature in features.items()
            }
        )
    return records
