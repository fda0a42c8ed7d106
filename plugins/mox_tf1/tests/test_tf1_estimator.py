"""`tf.estimator` of scripts: the forms of the commonest tutorials, with values worked out by NumPy."""

import json
import re

import numpy as np
import tensorflow as tf

IRIS = """
    from __future__ import print_function
    import numpy as np
    import tensorflow as tf

    data = np.load('iris.npz')
    features = {'length': data['length'], 'kind': data['kind']}

    def train_input_fn(features, labels, batch_size):
        dataset = tf.data.Dataset.from_tensor_slices((dict(features), labels))
        return dataset.shuffle(1000).repeat().batch(batch_size)

    def eval_input_fn(features, labels, batch_size):
        features = dict(features)
        inputs = features if labels is None else (features, labels)
        return tf.data.Dataset.from_tensor_slices(inputs).batch(batch_size)

    def my_model(features, labels, mode, params):
        net = tf.feature_column.input_layer(features, params['feature_columns'])
        for units in params['hidden_units']:
            net = tf.layers.dense(net, units=units, activation=tf.nn.relu)
        logits = tf.layers.dense(net, params['n_classes'], activation=None)
        predicted_classes = tf.argmax(logits, 1)
        if mode == tf.estimator.ModeKeys.PREDICT:
            predictions = {
                'class_ids': predicted_classes[:, tf.newaxis],
                'probabilities': tf.nn.softmax(logits),
                'logits': logits,
            }
            return tf.estimator.EstimatorSpec(mode, predictions=predictions)
        loss = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
        accuracy = tf.metrics.accuracy(labels=labels, predictions=predicted_classes, name='acc_op')
        metrics = {'accuracy': accuracy}
        tf.summary.scalar('accuracy', accuracy[1])
        if mode == tf.estimator.ModeKeys.EVAL:
            return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
        assert mode == tf.estimator.ModeKeys.TRAIN
        optimizer = tf.train.AdagradOptimizer(learning_rate=0.1)
        train_op = optimizer.minimize(loss, global_step=tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

    def main(argv):
        kinds = tf.feature_column.categorical_column_with_vocabulary_list('kind', ['a', 'b', 'c'])
        columns = [tf.feature_column.numeric_column(key='length'), tf.feature_column.indicator_column(kinds)]
        classifier = tf.estimator.Estimator(
            model_fn=my_model, model_dir='model',
            params={'feature_columns': columns, 'hidden_units': [4, 5], 'n_classes': 3})
        classifier.train(input_fn=lambda: train_input_fn(features, data['labels'], 6), steps=20)
        eval_result = classifier.evaluate(input_fn=lambda: eval_input_fn(features, data['labels'], 6))
        print('Test set accuracy: {accuracy:0.3f}'.format(**eval_result))
        print({name: float(value) for name, value in eval_result.items()})
        predictions = classifier.predict(input_fn=lambda: eval_input_fn(features, None, 6))
        print([int(each['class_ids'][0]) for each in predictions])
        wanted = classifier.predict(lambda: eval_input_fn(features, None, 6), predict_keys='logits',
                                    yield_single_examples=False)
        print([{name: values.shape for name, values in each.items()} for each in wanted][-1])
        spec = tf.feature_column.make_parse_example_spec(columns)
        receiver_fn = tf.estimator.export.build_parsing_serving_input_receiver_fn(spec)
        print(classifier.export_saved_model('exports', receiver_fn).decode())
        print(classifier.get_variable_names()[:2], classifier.get_variable_value('dense_2/bias').shape)
        again = tf.estimator.Estimator(my_model, 'model', params=classifier.params)
        again.train(lambda: train_input_fn(features, data['labels'], 6), max_steps=25)
        again.train(lambda: train_input_fn(features, data['labels'], 6), max_steps=25)
        print(again.latest_checkpoint())

    if __name__ == '__main__':
        tf.logging.set_verbosity(tf.logging.INFO)
        tf.app.run(main)
"""


def _iris(logits, labels, batch):
    """Returns accuracy over all samples, and the mean over batches of the mean loss of each."""
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    batches = [losses[start : start + batch].mean() for start in range(0, len(labels), batch)]
    return float((logits.argmax(1) == labels).mean()), float(np.mean(batches))


def test_the_iris_tutorial_trains_evaluates_predicts_and_exports(tf1, tmp_path):
    random = np.random.default_rng(0)
    length = random.random(23, np.float32)
    kind, labels = random.choice(["a", "b", "c"], 23), random.integers(0, 3, 23)
    np.savez(tmp_path / "iris.npz", length=length, kind=kind, labels=labels)
    done = tf1(IRIS)
    accuracy, result, classes, shapes, folder, names, latest = done.stdout.splitlines()
    weights = tf.train.load_checkpoint(str(tmp_path / "model" / "model.ckpt-20"))
    net = np.concatenate([np.eye(3)[np.searchsorted(["a", "b", "c"], kind)], length[:, np.newaxis]], 1)  # by name
    for layer, function in (("dense", np.maximum), ("dense_1", np.maximum), ("dense_2", np.add)):
        net = net @ weights.get_tensor(f"{layer}/kernel") + weights.get_tensor(f"{layer}/bias")
        net = function(net, 0)
    wanted_accuracy, wanted_loss = _iris(net, labels, 6)
    found = json.loads(result.replace("'", '"'))
    assert accuracy == f"Test set accuracy: {wanted_accuracy:0.3f}"
    np.testing.assert_allclose([found["accuracy"], found["loss"]], [wanted_accuracy, wanted_loss], rtol=1e-5)
    assert found["global_step"] == 20
    assert json.loads(classes) == net.argmax(1).tolist()
    assert shapes == "{'logits': (5, 3)}"
    assert names == "['dense/bias', 'dense/bias/Adagrad'] (3,)"
    assert latest == "model/model.ckpt-25"
    assert done.stderr.count("Skipping training since max_steps") == 1
    examples = []
    for one_length, one_kind in zip(length, kind, strict=True):
        example = tf.train.Example()
        example.features.feature["length"].float_list.value.append(one_length)
        example.features.feature["kind"].bytes_list.value.append(one_kind.encode())
        examples.append(example.SerializeToString())
    served = tf.saved_model.load(str(tmp_path / folder)).signatures["serving_default"](examples=tf.constant(examples))
    np.testing.assert_allclose(served["logits"], net, rtol=1e-4, atol=1e-5)
    assert sorted(served) == ["class_ids", "logits", "probabilities"]


MNIST = """
    from __future__ import absolute_import
    from __future__ import division
    from __future__ import print_function
    import numpy as np
    import tensorflow as tf

    tf.logging.set_verbosity(tf.logging.INFO)

    def cnn_model_fn(features, labels, mode):
      input_layer = tf.reshape(features["x"], [-1, 8, 8, 1])
      conv1 = tf.layers.conv2d(inputs=input_layer, filters=3, kernel_size=[5, 5], padding="same",
                               activation=tf.nn.relu)
      pool1 = tf.layers.max_pooling2d(inputs=conv1, pool_size=[2, 2], strides=2)
      pool2_flat = tf.reshape(pool1, [-1, 4 * 4 * 3])
      dense = tf.layers.dense(inputs=pool2_flat, units=16, activation=tf.nn.relu)
      dropout = tf.layers.dropout(inputs=dense, rate=0.4, training=mode == tf.estimator.ModeKeys.TRAIN)
      logits = tf.layers.dense(inputs=dropout, units=10)
      predictions = {
          "classes": tf.argmax(input=logits, axis=1),
          "probabilities": tf.nn.softmax(logits, name="softmax_tensor")
      }
      if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode=mode, predictions=predictions)
      loss = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
      if mode == tf.estimator.ModeKeys.TRAIN:
        optimizer = tf.train.GradientDescentOptimizer(learning_rate=0.001)
        train_op = optimizer.minimize(loss=loss, global_step=tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode=mode, loss=loss, train_op=train_op)
      eval_metric_ops = {
          "accuracy": tf.metrics.accuracy(labels=labels, predictions=predictions["classes"])}
      return tf.estimator.EstimatorSpec(mode=mode, loss=loss, eval_metric_ops=eval_metric_ops)

    def main(unused_argv):
      data = np.load('digits.npz')
      mnist_classifier = tf.estimator.Estimator(model_fn=cnn_model_fn, model_dir="mnist_convnet_model")
      tensors_to_log = {"probabilities": "softmax_tensor"}
      logging_hook = tf.train.LoggingTensorHook(tensors=tensors_to_log, every_n_iter=5)
      train_input_fn = tf.estimator.inputs.numpy_input_fn(
          x={"x": data['x']}, y=data['y'], batch_size=10, num_epochs=None, shuffle=True)
      mnist_classifier.train(input_fn=train_input_fn, steps=10, hooks=[logging_hook])
      eval_input_fn = tf.estimator.inputs.numpy_input_fn(
          x={"x": data['x']}, y=data['y'], num_epochs=1, shuffle=False, batch_size=16)
      print(mnist_classifier.evaluate(input_fn=eval_input_fn))
      print(mnist_classifier.evaluate(input_fn=eval_input_fn, steps=1, name='one')['accuracy'])

    if __name__ == "__main__":
      tf.app.run()
"""


def test_the_mnist_tutorial_trains_with_a_hook_that_logs_tensors_by_name(tf1, tmp_path):
    random = np.random.default_rng(1)
    x, y = random.random((37, 8, 8), np.float32), random.integers(0, 10, 37).astype(np.int32)
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    done = tf1(MNIST)
    assert len(re.findall(r"INFO:tensorflow:probabilities = \[\[", done.stderr)) == 2
    weights = tf.train.load_checkpoint(str(tmp_path / "mnist_convnet_model"))
    net = tf.nn.conv2d(x[..., np.newaxis], weights.get_tensor("conv2d/kernel"), 1, "SAME")
    net = np.maximum(net + weights.get_tensor("conv2d/bias"), 0).reshape(37, 4, 2, 4, 2, 3).max((2, 4))
    net = net.reshape(37, -1) @ weights.get_tensor("dense/kernel") + weights.get_tensor("dense/bias")
    logits = np.maximum(net, 0) @ weights.get_tensor("dense_1/kernel") + weights.get_tensor("dense_1/bias")
    accuracy, loss = _iris(logits, y, 16)
    whole, first = done.stdout.splitlines()
    found = json.loads(whole.replace("'", '"'))
    np.testing.assert_allclose([found["accuracy"], found["loss"]], [accuracy, loss], rtol=1e-5)
    np.testing.assert_allclose(float(first), (logits.argmax(1) == y)[:16].mean(), rtol=1e-6)
    assert list((tmp_path / "mnist_convnet_model" / "eval_one").glob("events*"))


TEXT = """
    import tensorflow as tf

    WORDS = [[1, 2, 3], [4, 5, 6], [1, 4, 0], [6, 2, 0], [3, 3, 1]] * 8
    LABELS = [0, 1, 0, 1, 0] * 8

    def input_fn(mode, params):
        dataset = tf.data.Dataset.from_tensor_slices(({'words': WORDS}, LABELS))
        if mode == tf.estimator.ModeKeys.TRAIN:
            dataset = dataset.shuffle(100)
        return dataset.batch(params['batch_size'])

    def model_fn(features, labels, mode, params, config):
        assert config.model_dir == 'model'
        embeddings = tf.get_variable('embeddings', [params['vocabulary'], 4])
        net = tf.reduce_mean(tf.nn.embedding_lookup(embeddings, features['words']), axis=1)
        logits = tf.squeeze(tf.layers.dense(net, 1), 1)
        probabilities = tf.sigmoid(logits)
        export_outputs = {'classes': tf.estimator.export.ClassificationOutput(scores=probabilities[:, tf.newaxis]),
                          'serving_default': tf.estimator.export.PredictOutput({'p': probabilities})}
        if mode == tf.estimator.ModeKeys.PREDICT:
            return tf.estimator.EstimatorSpec(mode, predictions=probabilities, export_outputs=export_outputs)
        loss = tf.losses.sigmoid_cross_entropy(labels, logits)
        global_step = tf.train.get_or_create_global_step()
        rate = tf.train.exponential_decay(0.05, global_step, 5, 0.9)
        optimizer = tf.train.AdamOptimizer(rate)
        update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        with tf.control_dependencies(update_ops):
            train_op = optimizer.minimize(loss, global_step)
        metrics = {'auc': tf.metrics.auc(labels, probabilities),
                   'precision': tf.metrics.precision(labels, tf.round(probabilities)),
                   'recalls': tf.metrics.recall_at_thresholds(labels, probabilities, [0.4, 0.5, 0.6])}
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op, eval_metric_ops=metrics)

    def serving_input_receiver_fn():
        words = tf.placeholder(tf.int32, [None, 3], name='words')
        return tf.estimator.export.ServingInputReceiver({'words': words}, {'words': words})

    config = tf.estimator.RunConfig(model_dir='model', save_checkpoints_steps=4, tf_random_seed=3,
                                    keep_checkpoint_max=3, log_step_count_steps=5,
                                    session_config=tf.ConfigProto(allow_soft_placement=True))
    estimator = tf.estimator.Estimator(model_fn, config=config, params={'batch_size': 4, 'vocabulary': 7})
    best = tf.estimator.BestExporter(serving_input_receiver_fn=serving_input_receiver_fn, exports_to_keep=1)
    final = tf.estimator.FinalExporter('final', serving_input_receiver_fn)
    result, paths = tf.estimator.train_and_evaluate(
        estimator, tf.estimator.TrainSpec(input_fn, max_steps=1000),
        tf.estimator.EvalSpec(input_fn, steps=None, exporters=[best, final], throttle_secs=0, start_delay_secs=0))
    print(result['global_step'], paths[1].decode())
    print([float(result['precision'])] + [float(each) for each in result['recalls']])
"""


def _text_logits(prefix, words):
    weights = tf.train.load_checkpoint(str(prefix))
    net = weights.get_tensor("embeddings")[np.array(words)].mean(1)
    return (net @ weights.get_tensor("dense/kernel") + weights.get_tensor("dense/bias"))[:, 0]


def test_train_and_evaluate_goes_on_over_evaluations_and_exports_the_best(tf1, tmp_path):
    done = tf1(TEXT)
    # 40 samples in batches of 4, once: an input that began anew behind each evaluation would not end at 10.
    evaluated = re.findall(r"INFO:tensorflow:Saving dict for global step (\d+): .* loss = (\S+),", done.stderr)
    assert [step for step, _ in evaluated] == ["4", "8", "10"]
    last, metrics = done.stdout.splitlines()
    step, folder = last.split()
    assert step == "10"
    logits = _text_logits(tmp_path / "model/model.ckpt-10", [[1, 2, 3], [4, 5, 6], [1, 4, 0], [6, 2, 0], [3, 3, 1]])
    p, labels = 1 / (1 + np.exp(-logits)), np.array([0, 1, 0, 1, 0])
    wanted = [labels[p > 0.5].mean(), *((p[labels == 1] > threshold).mean() for threshold in (0.4, 0.5, 0.6))]
    np.testing.assert_allclose(json.loads(metrics), wanted, rtol=1e-5)
    (best,) = (each for each in (tmp_path / "model/export/best_exporter").iterdir() if each.is_dir())
    losses = [float(loss) for _, loss in evaluated]
    words = np.array([[1, 2, 3], [6, 6, 0]], np.int32)
    logits = _text_logits(tmp_path / f"model/model.ckpt-{[4, 8, 10][int(np.argmin(losses))]}", words)
    signatures = tf.saved_model.load(str(best)).signatures
    np.testing.assert_allclose(
        signatures["serving_default"](words=tf.constant(words))["p"], 1 / (1 + np.exp(-logits)), rtol=1e-5
    )
    assert signatures["classes"](words=tf.constant(words))["scores"].shape == (2, 1)
    assert list(tf.saved_model.load(str(tmp_path / folder)).signatures) == ["classes", "serving_default"]


BERT = """
    import tensorflow as tf

    flags = tf.flags
    FLAGS = flags.FLAGS
    flags.DEFINE_bool('use_tpu', False, '')
    flags.DEFINE_string('master', None, '')
    flags.DEFINE_integer('train_batch_size', 4, '')

    def file_based_input_fn_builder(is_training, drop_remainder):
        def _decode_record(record):
            example = tf.parse_single_example(record, {'ids': tf.FixedLenFeature([3], tf.int64),
                                                       'label': tf.FixedLenFeature([], tf.int64)})
            return {name: tf.to_int32(t) if t.dtype == tf.int64 else t for name, t in example.items()}
        def input_fn(params):
            d = tf.data.TFRecordDataset('train.tf_record')
            if is_training:
                d = d.repeat().shuffle(buffer_size=100)
            return d.apply(tf.contrib.data.map_and_batch(
                _decode_record, batch_size=params['batch_size'], drop_remainder=drop_remainder))
        return input_fn

    def model_fn_builder(learning_rate, vocabulary):
        def model_fn(features, labels, mode, params):
            tf.logging.info('*** Features ***')
            table = tf.get_variable('table', [vocabulary, 5], initializer=tf.truncated_normal_initializer(stddev=0.5))
            output = tf.contrib.layers.layer_norm(
                inputs=tf.reduce_mean(tf.gather(table, features['ids']), 1), begin_norm_axis=-1, begin_params_axis=-1)
            logits = tf.layers.dense(output, 2, kernel_initializer=tf.truncated_normal_initializer(stddev=0.5))
            log_probs = tf.nn.log_softmax(logits, axis=-1)
            per_example_loss = -tf.reduce_sum(tf.one_hot(features['label'], 2) * log_probs, axis=-1)
            total_loss = tf.reduce_mean(per_example_loss)
            tvars = tf.trainable_variables()
            for var in tvars:
                tf.logging.info('  name = %s, shape = %s', var.name, var.shape)
            if mode == tf.estimator.ModeKeys.TRAIN:
                optimizer = tf.contrib.tpu.CrossShardOptimizer(tf.train.AdamOptimizer(learning_rate))
                (grads, _) = tf.clip_by_global_norm(tf.gradients(total_loss, tvars), clip_norm=1.0)
                train_op = optimizer.apply_gradients(zip(grads, tvars), global_step=tf.train.get_global_step())
                return tf.contrib.tpu.TPUEstimatorSpec(mode=mode, loss=total_loss, train_op=train_op, scaffold_fn=None)
            if mode == tf.estimator.ModeKeys.EVAL:
                def metric_fn(per_example_loss, label_ids, logits):
                    predictions = tf.argmax(logits, axis=-1, output_type=tf.int32)
                    return {'eval_accuracy': tf.metrics.accuracy(labels=label_ids, predictions=predictions),
                            'eval_loss': tf.metrics.mean(values=per_example_loss)}
                return tf.contrib.tpu.TPUEstimatorSpec(
                    mode=mode, loss=total_loss,
                    eval_metrics=(metric_fn, [per_example_loss, features['label'], logits]))
            return tf.contrib.tpu.TPUEstimatorSpec(mode=mode, predictions={'probabilities': tf.nn.softmax(logits)})
        return model_fn

    def main(_):
        tf.logging.set_verbosity(tf.logging.INFO)
        hparams = tf.contrib.training.HParams(rate=0.5, vocabulary=9, units=[1, 2]).parse('rate=0.002,units=[3,4]')
        assert (hparams.rate, hparams.units, 'rate' in hparams) == (0.002, [3, 4], True)
        writer = tf.python_io.TFRecordWriter('train.tf_record')
        for number in range(23):
            ids = tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 9, number % 4, number % 2]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2]))
            features = tf.train.Features(feature={'ids': ids, 'label': label})
            writer.write(tf.train.Example(features=features).SerializeToString())
        writer.close()
        run_config = tf.contrib.tpu.RunConfig(
            cluster=None, master=FLAGS.master, model_dir='model', save_checkpoints_steps=50,
            tpu_config=tf.contrib.tpu.TPUConfig(
                iterations_per_loop=1000, num_shards=8,
                per_host_input_for_training=tf.contrib.tpu.InputPipelineConfig.PER_HOST_V2))
        estimator = tf.contrib.tpu.TPUEstimator(
            use_tpu=FLAGS.use_tpu, model_fn=model_fn_builder(hparams.rate, hparams.vocabulary), config=run_config,
            train_batch_size=FLAGS.train_batch_size, eval_batch_size=6, predict_batch_size=6)
        estimator.train(input_fn=file_based_input_fn_builder(True, True), max_steps=60)
        result = estimator.evaluate(input_fn=file_based_input_fn_builder(False, False), steps=None)
        for key in sorted(result.keys()):
            print(key, float(result[key]))
        print(len(list(estimator.predict(input_fn=file_based_input_fn_builder(False, False)))))
        serving = tf.estimator.export.build_raw_serving_input_receiver_fn({'ids': tf.zeros([1, 3], tf.int32),
                                                                           'label': tf.zeros([1], tf.int32)})
        predict = tf.contrib.predictor.from_saved_model(estimator.export_savedmodel('exports', serving))
        print(predict({'ids': [[0, 0, 0]], 'label': [0]})['probabilities'].shape)

    if __name__ == '__main__':
        tf.app.run()
"""


def test_a_script_of_the_shape_of_berts_runs_without_a_tpu(tf1, tmp_path):
    lines = tf1(BERT).stdout.splitlines()
    found = {name: float(value) for name, value in map(str.split, lines[:4])}
    assert lines[4:] == ["23", "(1, 2)"]
    weights = tf.train.load_checkpoint(str(tmp_path / "model"))
    numbers = np.arange(23)
    net = weights.get_tensor("table")[np.stack([numbers % 9, numbers % 4, numbers % 2], 1)].mean(1)
    net = (net - net.mean(1, keepdims=True)) / np.sqrt(net.var(1, keepdims=True) + 1e-12)
    net = net * weights.get_tensor("LayerNorm/gamma") + weights.get_tensor("LayerNorm/beta")
    logits = net @ weights.get_tensor("dense/kernel") + weights.get_tensor("dense/bias")
    losses = np.log(np.exp(logits).sum(1)) - logits[numbers, numbers % 2]
    accuracy, loss = _iris(logits, numbers % 2, 6)
    wanted = {"eval_accuracy": accuracy, "eval_loss": losses.mean(), "global_step": 60, "loss": loss}
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose([found[name] for name in wanted], list(wanted.values()), rtol=1e-4)
    lines = tf1(BERT, "--use_tpu=True", rc=1).stderr.splitlines()
    assert "mox_core.errors.UsageError: use_tpu is True, and mox has no TPUs: leave --use_tpu out." in lines
