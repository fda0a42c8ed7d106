"""Train ops of an EstimatorSpec make the updates of TensorFlow 1; what cannot be right is refused."""

import json

import numpy as np

UPDATES = """
    import re
    import numpy as np
    import tensorflow as tf

    def input_fn():
        return tf.data.Dataset.from_tensor_slices(np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]], np.float32)).batch(1)

    class Decaying(tf.train.Optimizer):
        # As in BERT: it has an update of its own, and leaves the global step to others.
        def __init__(self, rate):
            super(Decaying, self).__init__(False, 'Decaying')
            self.rate = rate
        def apply_gradients(self, grads_and_vars, global_step=None, name=None):
            assignments = []
            for grad, param in grads_and_vars:
                m = tf.get_variable(name=re.match('^(.*):\\\\d+$', param.name).group(1) + '/m', shape=[2],
                                    trainable=False, initializer=tf.zeros_initializer())
                next_m = tf.multiply(0.5, m) + grad
                assignments.extend([param.assign(param - self.rate * next_m - 0.5 * param), m.assign(next_m)])
            return tf.group(*assignments, name=name)

    def minimize(loss, w, step):
        return tf.train.GradientDescentOptimizer(1.0).minimize(loss, global_step=step)

    def of_some_variables(loss, w, step):
        return tf.train.GradientDescentOptimizer(1.0).minimize(loss, step, var_list=[w])

    def clipped(loss, w, step):
        optimizer = tf.train.GradientDescentOptimizer(1.0)
        pairs = optimizer.compute_gradients(loss)
        return optimizer.apply_gradients([(tf.clip_by_value(g, -2.0, 2.0), v) for g, v in pairs], global_step=step)

    def clipped_by_norm(loss, w, step):
        variables = tf.trainable_variables()
        gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), clip_norm=1.0)
        train_op = tf.train.GradientDescentOptimizer(1.0).apply_gradients(zip(gradients, variables))
        return tf.group(train_op, tf.assign_add(step, 1))

    def of_bert(loss, w, step):
        train_op = Decaying(1.0).apply_gradients(zip(tf.gradients(loss, [w]), [w]), global_step=step)
        return tf.group(train_op, [step.assign(step + 1)])

    def two(loss, w, step):
        u = tf.get_variable('u', [], initializer=tf.zeros_initializer())
        first = tf.train.GradientDescentOptimizer(1.0).minimize(loss, global_step=step, var_list=[w])
        second = tf.train.GradientDescentOptimizer(0.5).minimize(2.0 * u, var_list=[u])
        seen = tf.get_variable('seen', [], initializer=tf.zeros_initializer(), trainable=False)
        return tf.group(first, second, tf.assign_add(seen, 1.0))

    def after_batch_norm(loss, w, step):
        average = tf.get_variable('average', [], initializer=tf.zeros_initializer(), trainable=False)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(average, loss))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            return tf.train.GradientDescentOptimizer(1.0).minimize(loss, step)

    def of_slim(loss, w, step):
        return tf.contrib.slim.learning.create_train_op(loss, tf.train.GradientDescentOptimizer(1.0))

    def of_contrib(loss, w, step):
        return tf.contrib.layers.optimize_loss(
            loss=loss, global_step=tf.contrib.framework.get_global_step(), learning_rate=1.0, optimizer='SGD')

    def of_keras(loss, w, step):
        layer = tf.keras.layers.Dense(1, kernel_initializer='zeros')
        loss += tf.reduce_mean(layer(tf.ones([1, 1])))
        return tf.train.GradientDescentOptimizer(1.0).minimize(loss, step)

    for make in (minimize, of_some_variables, clipped, clipped_by_norm, of_bert, two, after_batch_norm, of_slim,
                 of_contrib, of_keras):
        def model_fn(features, labels, mode):
            assert labels is None
            w = tf.get_variable('w', [2], initializer=tf.zeros_initializer())
            loss = tf.reduce_mean(tf.reduce_sum(features * w, 1))
            train_op = make(loss, w, tf.train.get_global_step())
            for variable in tf.trainable_variables():
                assert variable.op.name + ':0' == variable.name
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

        estimator = tf.estimator.Estimator(model_fn, make.__name__)
        estimator.train(input_fn, max_steps=2)
        hook = tf.train.StopAtStepHook(last_step=5)
        estimator.train(lambda: input_fn().repeat(), hooks=[hook])  # from the beginning of its input
        print([make.__name__] + [round(float(value), 5) for name in estimator.get_variable_names() if name != 'w/m'
                                 for value in np.ravel(estimator.get_variable_value(name))])
"""


def test_train_ops_of_all_forms_make_the_update_that_tensorflow_1_made(tf1):
    found = {name: values for name, *values in map(json.loads, tf1(UPDATES).stdout.replace("'", '"').splitlines())}
    # The loss is linear, and its gradient the input: (3, 4), (1, 0), then again from the start (3, 4), (1, 0), (0, 2).
    gradients = np.array([[3, 4], [1, 0], [3, 4], [1, 0], [0, 2]], float)
    plain = (-gradients.sum(0)).tolist()
    by_value = (-gradients.clip(-2, 2).sum(0)).tolist()
    norms = np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1)
    w, m = np.zeros(2), np.zeros(2)
    losses = []
    for gradient in gradients:
        losses.append(float(gradient @ w))
        m = 0.5 * m + gradient
        w = w - m - 0.5 * w
    wanted = {
        "minimize": [5, *plain],
        "of_some_variables": [5, *plain],
        "clipped": [5, *by_value],
        "clipped_by_norm": [5, *(-(gradients / norms).sum(0)).round(5).tolist()],
        "of_bert": [5, *w.round(5).tolist()],
        "two": [5, 5.0, -5.0, *plain],  # global_step, seen, u, w
        "after_batch_norm": [float(gradients[4] @ -gradients[:4].sum(0)), 5, *plain],  # average first
        "of_slim": [5, *plain],
        "of_contrib": [1.0, 5, *plain],  # its learning_rate is a variable
        "of_keras": [-5.0, -5.0, 5, *plain],
    }
    assert found == wanted


def test_replicas_step_by_the_means_of_their_own_clipped_gradients(tf1):
    done = tf1(
        """
        import numpy as np
        import tensorflow as tf

        def input_fn():
            return tf.data.Dataset.from_tensor_slices(np.array([3.0, 5.0, 1.0, 7.0], np.float32)).batch(1)

        def model_fn(features, labels, mode):
            w = tf.get_variable('w', [], initializer=tf.zeros_initializer())
            tf.losses.add_loss(tf.reduce_mean(features * w))
            loss = tf.losses.get_total_loss()
            optimizer = tf.train.GradientDescentOptimizer(1.0)
            pairs = [(tf.clip_by_value(g, 0.0, 4.0), v) for g, v in optimizer.compute_gradients(loss)]
            train_op = optimizer.apply_gradients(pairs, tf.train.get_global_step())
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

        estimator = tf.estimator.Estimator(model_fn, 'model')
        estimator.train(input_fn)
        print(estimator.get_variable_value('w'), estimator.get_variable_value('global_step'))
        """,
        "--num_gpus=2",
        "--clone_on_cpu=True",
    )
    assert done.stdout == "-6.0 2\n"  # (3 + 4) / 2 + (1 + 4) / 2


REFUSED = """
    import tensorflow as tf

    def input_fn():
        return tf.data.Dataset.from_tensor_slices([[1.0], [2.0]]).batch(1)

    def after_the_update(loss, w, step):
        train_op = tf.train.GradientDescentOptimizer(1.0).minimize(loss, global_step=step)
        average = tf.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([train_op]):
            return average.apply([w])

    def by_hand(loss, w, step):
        return w.assign_sub(tf.gradients(loss, w)[0])

    def by_twos(loss, w, step):
        return tf.group(tf.train.GradientDescentOptimizer(1.0).minimize(loss), tf.assign_add(step, 2))

    def with_scaffold(loss, w, step):
        return tf.estimator.EstimatorSpec('train', loss=loss, train_op=loss, scaffold=tf.train.Scaffold())

    def without(loss, w, step):
        return None

    for make in (after_the_update, by_hand, by_twos, with_scaffold, without):
        def model_fn(features, labels, mode):
            w = tf.get_variable('w', [], initializer=tf.zeros_initializer())
            loss = tf.reduce_mean(features * w)
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=make(loss, w, tf.train.get_global_step()))
        try:
            tf.estimator.Estimator(model_fn).train(input_fn)
        except Exception as error:
            print(type(error).__name__, error)
    estimator = tf.estimator.Estimator(lambda features, labels, mode: 1, 'nothing')
    for refused in (lambda: estimator.evaluate(input_fn),
                    lambda: next(estimator.predict(input_fn)),
                    lambda: estimator.train(input_fn, steps=1, max_steps=1),
                    lambda: estimator.train(input_fn, saving_listeners=[1]),
                    lambda: estimator.train(input_fn, hooks=[tf.train.CheckpointSaverHook('x', save_steps=1)]),
                    lambda: tf.estimator.Estimator(lambda x: x),
                    lambda: tf.estimator.Estimator(lambda features: 1, params={'a': 1}),
                    lambda: tf.estimator.RunConfig(save_checkpoints_steps=1, save_checkpoints_secs=1),
                    lambda: tf.estimator.RunConfig(train_distribute=tf.distribute.MirroredStrategy),
                    lambda: tf.estimator.inputs.numpy_input_fn([1.0], batch_size=1),
                    lambda: tf.estimator.inputs.numpy_input_fn([1.0], [1, 2], shuffle=False),
                    lambda: tf.estimator.DNNClassifier,
                    lambda: tf.estimator.export.TensorServingInputReceiver):
        try:
            refused()
        except Exception as error:
            print(type(error).__name__, error)
"""


def test_what_cannot_be_right_is_refused_in_words_with_the_users_line(tf1):
    lines = tf1(REFUSED).stdout.splitlines()
    wanted = [
        "UsageError train.py:11: 'ExponentialMovingAverage/",
        "UsageError train.py:14: train_op ",
        "UsageError train.py:17: the global step is assigned 2",
        "UsageError EstimatorSpec has a scaffold: ",
        "UsageError EstimatorSpec of mode 'train' lacks train_op.",
        "UsageError there is no checkpoint in model_dir 'nothing': call train before.",
        "UsageError there is no checkpoint in model_dir 'nothing'",
        "UsageError train has steps and max_steps: give one of them.",
        "UsageError train has saving_listeners",
        "UsageError the hook CheckpointSaverHook needs a session of TensorFlow 1: RunConfig(save_checkpoints_steps",
        "UsageError model_fn of Estimator is ",
        "UsageError Estimator has params, and model_fn has no argument params.",
        "UsageError RunConfig has save_checkpoints_steps and save_checkpoints_secs",
        "UsageError RunConfig has train_distribute: several GPUs are used by --num_gpus=2",
        "UsageError shuffle of the input_fn is None",
        "UsageError the arrays of x and y have 1, 2 samples",
        "AttributeError tf.estimator.DNNClassifier is not there: the models that TensorFlow 1 had ready",
        "AttributeError tf.estimator.export.TensorServingInputReceiver is not there",
    ]
    assert len(lines) == len(wanted), lines
    for line, start in zip(lines, wanted, strict=True):
        assert line.startswith(start), line
