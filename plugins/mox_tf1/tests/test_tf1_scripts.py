"""Whole scripts, in the forms of MoXing's manual, run as they are."""

import re

import numpy as np
import tensorflow as tf
from PIL import Image

SLIM = """
    import tensorflow as tf
    import moxing.tensorflow as mox
    slim = tf.contrib.slim

    def input_fn(mode, **kwargs):
      meta = mox.ImageClassificationRawMetadata(base_dir='images')
      dataset = mox.ImageClassificationRawDataset(meta)
      image, label = dataset.get(['image', 'label'])
      image = tf.expand_dims(image, 0)
      image = tf.image.resize_bilinear(image, [8, 8])
      image = tf.squeeze(image)
      image.set_shape([8, 8, 3])
      return image, label

    def model_fn(inputs, mode, **kwargs):
      images, labels = inputs
      net = slim.conv2d(images, 4, [3, 3], normalizer_fn=slim.batch_norm, scope='conv')
      logits = slim.fully_connected(slim.flatten(net), 2, activation_fn=None, scope='logits')
      labels_one_hot = slim.one_hot_encoding(labels, 2)
      loss = tf.losses.softmax_cross_entropy(logits=logits, onehot_labels=labels_one_hot)
      accuracy = tf.reduce_mean(tf.cast(tf.nn.in_top_k(logits, labels, 1), tf.float32))
      metric_hook = mox.LogEvaluationMetricHook(
        monitor_info={'loss': loss, 'accuracy': accuracy}, batch_size=2, samples_in_train=4, samples_in_eval=4,
        evaluate_every_n_epochs=1, prefix='[VALIDATION METRICS]')
      return mox.ModelSpec(loss=loss, log_info={'loss': loss, 'accuracy': accuracy}, hooks=[metric_hook],
                           export_spec=mox.ExportSpec(inputs_dict={'images': images}, outputs_dict={'logits': logits}))

    mox.run(input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=mox.get_optimizer_fn('sgd', learning_rate=0.01),
            batch_size=2,
            run_mode=mox.ModeKeys.TRAIN,
            inter_mode=mox.ModeKeys.EVAL,
            max_number_of_steps=10000,
            log_every_n_steps=2,
            log_dir='log',
            export_model=mox.ExportKeys.TF_SERVING)
"""


def test_a_network_of_slim_trains_for_max_steps_is_validated_and_exported(tf1, tmp_path):
    for number, label in enumerate(["daisy", "rose"] * 2):
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        pixels = np.full([10, 12, 3], 60 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    lines = tf1(SLIM, options=["--max_steps", 4]).stderr.splitlines()
    steps = [re.sub(r"sample/sec: \S+", "", line) for line in lines if "global step: " in line]
    assert [re.findall(r"step: (\d+)\(", line) for line in steps] == [["0"], ["2"]]
    assert [line.split("step: ")[1][0] for line in lines if "[VALIDATION METRICS]" in line] == ["1", "3"]
    assert tf.train.latest_checkpoint(str(tmp_path / "log")).endswith("model.ckpt-4")
    served = tf.saved_model.load(str(tmp_path / "log" / "1")).signatures["predict_object"]
    logits = served(tf.zeros([3, 8, 8, 3]))["logits"]
    weights = tf.train.load_checkpoint(str(tmp_path / "log"))
    bias = weights.get_tensor("logits/biases")
    # Without is_training=False, slim normalizes by the batch: all alike, images of one color are 0 before beta.
    constant = np.maximum(weights.get_tensor("conv/BatchNorm/beta"), 0)
    wanted = np.tile(constant, 64) @ weights.get_tensor("logits/weights") + bias
    np.testing.assert_allclose(logits, np.tile(wanted, [3, 1]), rtol=1e-4, atol=1e-5)


def test_placeholders_are_fed_by_a_hook_and_numpy_has_the_names_of_its_day(tf1):
    done = tf1("""
        import numpy as np
        import tensorflow as tf
        import moxing.tensorflow as mox
        from moxing.tensorflow.executor.hooks import FeedSessionRunHook

        def input_fn(run_mode, **kwargs):
          return [tf.constant(0.0)]

        def model_fn(inputs, mode, **kwargs):
          del inputs
          x = tf.placeholder(dtype=tf.float32, shape=[4])
          drawn = np.random.random_integers(low=7, high=7, size=[4])
          assert drawn.dtype == np.int and isinstance(1.5, np.float) and np.bool is bool
          w = tf.get_variable('w', [], initializer=tf.zeros_initializer())
          loss = tf.reduce_mean(w * x)
          return mox.ModelSpec(loss=loss, log_info={'loss': loss}, hooks=[FeedSessionRunHook(feed_dict={x: drawn})])

        mox.run(input_fn=input_fn, model_fn=model_fn, run_mode=mox.ModeKeys.TRAIN, auto_batch=False, batch_size=16,
                optimizer_fn=mox.get_optimizer_fn('sgd', learning_rate=0.1), log_dir=None,
                max_number_of_steps=3, log_every_n_steps=1)
    """)
    # The gradient is 7: w is 0, -0.7, -1.4.
    assert re.findall(r"loss: (\S+)", done.stderr) == ["0.000", "-4.900", "-9.800"]


def test_layers_of_keras_2s_path_train_and_the_model_goes_by_json_to_a_second_script(tf1, tmp_path):
    head = """
        import tensorflow as tf
        import moxing.tensorflow as mox
        from tensorflow.python.keras.layers import Dense, Input, concatenate
        from tensorflow.python.keras.layers.core import Dropout
        from tensorflow.python.keras.losses import binary_crossentropy
        from tensorflow.python.keras.models import Model, model_from_json
        from tensorflow.keras import backend as K

        def input_fn(mode, **kwargs):
          return tf.random_normal(shape=(3,)), tf.random_uniform(shape=(1,))

        def core(x):
          return Dense(1, activation='sigmoid')(concatenate([x, Dense(2)(x)]))

        def model_fn(inputs, mode, **kwargs):
          x, labels = inputs
          loss = tf.reduce_mean(binary_crossentropy(labels, make(x)))
          return mox.ModelSpec(loss=loss, log_info={'loss': loss})

        def train():
          mox.run(input_fn=input_fn, model_fn=model_fn,
                  optimizer_fn=mox.get_optimizer_fn('rmsprop', learning_rate=0.01),
                  run_mode=mox.ModeKeys.TRAIN, batch_size=4, max_number_of_steps=1, log_dir='log')
    """
    tf1(
        head
        + """
        make = core
        train()
        x = Input(shape=(3,))
        with tf.gfile.Open('model.json', 'wb') as f:
          f.write(Model(inputs=[x], outputs=[core(x)]).to_json())
    """
    )
    done = tf1(
        head
        + """
        def make(x):
          with tf.gfile.Open('model.json', 'r') as f:
            return model_from_json(f.read())([x])
        mox.run(input_fn=input_fn, model_fn=model_fn, optimizer_fn=mox.get_optimizer_fn('rmsprop', learning_rate=0.01),
                run_mode=mox.ModeKeys.TRAIN, batch_size=4, max_number_of_steps=1)
    """
    )
    assert len(re.findall(r"loss: \d", done.stderr)) == 1
    shapes = {tuple(shape) for _, shape in tf.train.list_variables(str(tmp_path / "log"))}
    assert {(3, 2), (2,), (5, 1), (1,)} <= shapes


def test_a_gan_of_tf_layers_reads_digits_as_the_tutorials_did(tf1, tmp_path):
    for name, count in (("train", 60), ("t10k", 10)):
        images = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28)) + bytes(count * 784)
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(count)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(labels)
    done = tf1(
        """
        from tensorflow.examples.tutorials.mnist import input_data
        import tensorflow as tf
        import moxing.tensorflow as mox

        tf.flags.DEFINE_string('data_url', '/nowhere', '')
        flags = tf.flags.FLAGS

        def input_fn(run_mode, **kwargs):
          mnist = input_data.read_data_sets(flags.data_url, one_hot=True, validation_size=10)
          def gen():
            while True:
              yield mnist.train.next_batch(4)
          ds = tf.data.Dataset.from_generator(
              gen, output_types=(tf.float32, tf.int64),
              output_shapes=(tf.TensorShape([None, 784]), tf.TensorShape([None, 10])))
          images, labels = ds.make_one_shot_iterator().get_next()
          return tf.image.resize_images(tf.reshape(images, [-1, 28, 28, 1]), [4, 4]), labels

        def model_fn(inputs, run_mode, **kwargs):
          images, labels = inputs
          def generator(z, reuse=False):
            with tf.variable_scope('generator', reuse=reuse):
              net = tf.layers.conv2d_transpose(z, 2, [4, 4], padding='valid')
              return tf.nn.tanh(tf.layers.conv2d(tf.layers.batch_normalization(net, training=True), 1, [1, 1]))
          def discriminator(x, reuse=False):
            with tf.variable_scope('discriminator', reuse=reuse):
              return tf.layers.conv2d(x, 1, [4, 4], padding='valid')
          fake = generator(tf.random_normal([4, 1, 1, 3]))
          on_real, on_fake = discriminator(images), discriminator(fake, reuse=True)
          D_loss = tf.reduce_mean(tf.nn.softplus(-on_real) + tf.nn.softplus(on_fake))
          G_loss = tf.reduce_mean(tf.nn.softplus(-on_fake))
          return mox.ModelSpec(loss=[D_loss, G_loss], var_scopes=[['discriminator'], ['generator']],
                               log_info={'D_loss': D_loss, 'G_loss': G_loss})

        if __name__ == '__main__':
          mox.run(input_fn=input_fn, model_fn=model_fn,
                  optimizer_fn=[mox.get_optimizer_fn(name='adam', learning_rate=0.0002, beta1=0.5),
                                mox.get_optimizer_fn(name='adam', learning_rate=0.0002, beta1=0.5)],
                  run_mode=mox.ModeKeys.TRAIN, batch_size=4, auto_batch=False, log_dir='log',
                  max_number_of_steps=2, log_every_n_steps=1)
    """,
        f"--data_url={tmp_path}",
    )
    assert len(re.findall(r"D_loss: \S+\tG_loss: \S+", done.stderr)) == 2
    names = {name.partition("/")[0] for name, _ in tf.train.list_variables(str(tmp_path / "log"))}
    assert {"generator", "discriminator"} <= names


def test_a_script_with_a_session_has_a_default_graph_and_mox_run_leaves_it(tf1):
    done = tf1("""
        import sys
        import tensorflow as tf
        import moxing.tensorflow as mox

        tf.constant(1.0, name='forgotten')
        tf.reset_default_graph()
        x = tf.placeholder(tf.float32, [])
        w = tf.get_variable('w', [], initializer=tf.constant_initializer(3.0))
        train_op = tf.train.GradientDescentOptimizer(0.5).minimize(tf.square(w - x))
        with tf.Session() as sess:
          sess.run(tf.global_variables_initializer())
          sess.run(train_op, feed_dict={x: 1.0})
          print(sess.run(w))

        def input_fn(mode):
          return tf.constant(2.0)

        def model_fn(inputs, mode):
          v = tf.get_variable('w', [], initializer=tf.zeros_initializer())
          loss = tf.reduce_mean(tf.square(v - inputs[0]))
          return mox.ModelSpec(loss=loss, log_info={'loss': loss})

        def main(_):
          mox.run(input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: tf.train.GradientDescentOptimizer(0.25),
                  run_mode=mox.ModeKeys.TRAIN, batch_size=2, max_number_of_steps=2, log_every_n_steps=1)
          print([op.name for op in tf.get_default_graph().get_operations() if op.type == 'Placeholder'], sys.maxint > 0)

        if __name__ == '__main__':
          tf.app.run()
    """)
    # w is 3, its gradient 4: 3 - 0.5 * 4. In mox.run the loss is 2 squared, then (2 - 0.25 * 4) squared.
    assert done.stdout == "1.0\n['Placeholder'] True\n"
    assert re.findall(r"loss: (\S+)", done.stderr) == ["4.000", "1.000"]


def test_recurrent_cells_and_layers_are_those_of_tensorflow_1_in_mox_run_and_in_a_session(tf1, tmp_path):
    done = tf1(
        """
        import tensorflow as tf
        import moxing.tensorflow as mox

        def net(x):
          cell = tf.contrib.rnn.MultiRNNCell([tf.contrib.rnn.BasicLSTMCell(4), tf.nn.rnn_cell.GRUCell(3)])
          out, _ = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32)
          return tf.layers.dense(out, 2, kernel_regularizer=tf.contrib.layers.l2_regularizer(0.1))

        y = net(tf.placeholder(tf.float32, [2, 5, 2], name='x'))
        print(sorted(v.name for v in tf.trainable_variables())[:2])
        with tf.Session() as sess:
          sess.run(tf.global_variables_initializer())
          print(sess.run(y, {'x:0': [[[0., 1.]] * 5] * 2}).shape)

        def input_fn(mode):
          return tf.random_normal([5, 2])

        def model_fn(inputs, mode):
          return mox.ModelSpec(loss=tf.reduce_mean(tf.square(net(inputs[0]))))

        mox.run(input_fn=input_fn, model_fn=model_fn, optimizer_fn=mox.get_optimizer_fn('sgd', 0.1),
                run_mode=mox.ModeKeys.TRAIN, batch_size=2, max_number_of_steps=1, log_dir='log')
        """
    )
    assert done.stdout == "['dense/bias:0', 'dense/kernel:0']\n(2, 5, 2)\n"
    shapes = dict(tf.train.list_variables(str(tmp_path / "log")))
    assert shapes["rnn/multi_rnn_cell/cell_0/basic_lstm_cell/kernel"] == [2 + 4, 4 * 4]
    assert shapes["rnn/multi_rnn_cell/cell_1/gru_cell/gates/kernel"] == [4 + 3, 2 * 3]
    assert shapes["dense/kernel"] == [3, 2]


SEARCH = """
import tensorflow as tf
import moxing.tensorflow as mox

g = tf.get_default_graph()
tf.Session

def input_fn(run_mode, **kwargs):
  return tf.random_uniform([4])

def model_fn(inputs, run_mode, **kwargs):
  loss = tf.reduce_mean(tf.square(tf.get_variable('w', [4]) - inputs[0]))
  return mox.ModelSpec(loss=loss, log_info={'loss': loss})

def optimizer_fn(**kwargs):
  spec = kwargs['param_spec']
  return mox.get_optimizer_fn('momentum', learning_rate=spec.learning_rate, momentum=spec.momentum)()

functions = dict(input_fn=input_fn, model_fn=model_fn, optimizer_fn=optimizer_fn, batch_size=8)
spec = mox.auto.search(auto_batch=True, total_steps=100, evaluation_total_steps=10, by_acc=False,
                       search_learning_rate=False,
                       param_spec=mox.auto.ParamSpec(weight_decay=1e-4, momentum=0.9, learning_rate=0.1),
                       param_list_spec=mox.auto.ParamSpec(momentum=[0.5, 0.9]), **functions)
print('best', spec.learning_rate, spec.momentum in (0.5, 0.9), tf.get_default_graph() is g)
print('steps', mox.auto.run(run_mode=mox.ModeKeys.TRAIN, max_number_of_steps=1000, param_spec=spec, **functions).steps)
"""


def test_a_search_and_the_training_after_it_make_no_more_steps_than_the_command_line_says(tf1):
    done = tf1(SEARCH, options=["--max_steps", 3])
    assert done.stdout == "best 0.1 True True\nsteps 3\n"
    assert done.stderr.count("Training stops at global step 3") == 3


def test_a_session_of_a_script_reads_data_sets_of_mox_through_queues_too(tf1, tmp_path):
    for number in range(5):
        (tmp_path / "images" / "kind").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(tmp_path / "images" / "kind" / f"{number}.png")
    with tf.io.TFRecordWriter(str(tmp_path / "angles.tfrecord")) as writer:
        for number in range(5):
            angle = tf.train.Feature(float_list=tf.train.FloatList(value=[number / 2]))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"a": angle})).SerializeToString())
    done = tf1(
        """
        import tensorflow as tf
        import moxing.tensorflow as mox
        slim = tf.contrib.slim

        class Angles(mox.BaseTFRecordDataset):
          def _parser(self, record):
            return tf.parse_single_example(record, {'a': tf.FixedLenFeature([1], tf.float32)})['a']

          def _build_feature(self, a):
            self._add_feature('angle', tf.reshape(a, []))

        meta = mox.ImageClassificationTFRecordMetadata('.', 'angles.tfrecord', num_samples=5)
        angle, = Angles(meta, shuffle=False, num_parallel=4, num_epochs=1).get(['angle'])
        batch = tf.train.batch([angle], batch_size=3, allow_smaller_final_batch=True)
        with tf.Session() as sess:
          sess.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
          coord = tf.train.Coordinator()
          threads = tf.train.start_queue_runners(sess=sess, coord=coord)
          try:
            while not coord.should_stop():
              print(sess.run(batch).tolist())
          except tf.errors.OutOfRangeError:
            print('end')
          coord.request_stop()
          coord.join(threads)

        dataset = mox.ImageClassificationTFRecordDataset(
          meta, {'a': tf.FixedLenFeature([1], tf.float32)}, {'angle': slim.tfexample_decoder.Tensor('a', shape=[])},
          shuffle=True, num_readers=4, num_epochs=2)
        angle, = dataset.get(['angle'])
        photos = mox.ImageClassificationRawDataset(
          mox.ImageClassificationRawMetadata('images'), batch_size=2, num_epochs=1, shuffle=False,
          reader_class=mox.AsyncRawGenerator, reader_kwargs={'num_processes': 2})
        image, label = photos.get(['image', 'label'])
        with tf.train.MonitoredTrainingSession() as sess:
          while not sess.should_stop():
            print(sess.run([image, label])[0][:, 0, 0, 0].tolist())
        with tf.Session() as sess:
          print(sorted(sess.run(angle).item() for _ in range(5)))
        """
    )
    assert done.stdout.splitlines() == [
        "[0.0, 0.5, 1.0]",
        "[1.5, 2.0]",
        "end",
        "[0, 1]",
        "[2, 3]",
        "[4]",
        "[0.0, 0.5, 1.0, 1.5, 2.0]",
    ]


def test_batch_normalization_of_slim_works_in_a_session_of_the_script(tf1):
    done = tf1(
        """
        import tensorflow as tf
        slim = tf.contrib.slim
        x = tf.placeholder(tf.float32, [None, 2])
        y = slim.fully_connected(x, 3, normalizer_fn=slim.batch_norm, normalizer_params={'is_training': True})
        z = slim.batch_norm(x, is_training=True, epsilon=0.0)
        with tf.Session() as sess:
          sess.run(tf.global_variables_initializer())
          print(sess.run(z, {x: [[1, 2], [3, 6]]}).round(4).tolist(), sess.run(tf.shape(y), {x: [[1, 2]]}).tolist())
        """
    )
    assert done.stdout == "[[-1.0, -1.0], [1.0, 1.0]] [1, 3]\n"  # by hand: one deviation below and above the mean
