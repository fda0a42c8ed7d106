"""What mox relies on inside TensorFlow of optimizers and variables: see test_tf_internals.py."""

import contextvars

import keras
import numpy as np
import pytest
import tensorflow as tf

from private_names import relying_on, wrap


def test_the_parts_and_handles_of_variables_on_several_devices():
    with relying_on("DistributedValues.values or the variable's attribute handle", "variables") as variables:
        strategy, single = tf.distribute.MirroredStrategy(["CPU:0"]), tf.Variable(1.0)
        with strategy.scope():
            mirrored = tf.Variable(1.0)
        (part,) = strategy.experimental_local_results(mirrored)
        assert [each is part for each in variables.parts_of(mirrored)] == [True]
        assert variables.parts_of(single) == ()
        assert variables.handles_of(mirrored) == {id(part.handle)}
        assert variables.handles_of(single) == {id(outer) for outer, _ in wrap(single.read_value).graph.captures}


def test_a_variable_and_its_slots_go_by_the_name_that_it_is_given():
    with relying_on("the variable's attribute _handle_name", "variables") as variables:
        variable = tf.Variable(1.0, name="old")
        variables.rename(variable, "scope/new")
        optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
        optimizer.apply_gradients([(tf.constant(1.0), variable)])
        assert variable.name == "scope/new:0"
        with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
            mirrored = tf.Variable(1.0, name="old")
        variables.rename(mirrored, "scope/newer")
        assert [mirrored.name, mirrored.values[0].name] == ["scope/newer:0"] * 2
        assert [each.name for each in optimizer.variables()] == ["scope/new/Momentum:0"]


def test_replicas_in_one_graph_have_variables_and_collections_of_their_own():
    names = "variable_scope._VARSTORE_KEY, _VariableStore or _LazyEvalTensor, or collections of a Graph"
    key = tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES
    with relying_on(names, "replica_collections") as collections, tf.Graph().as_default() as graph:
        graph.add_to_collection(key, tf.constant(1.0))
        collections.prepare_graph(graph)

        def replica(number):
            with collections.replica_scope(graph, number):
                tf.compat.v1.get_variable("weight", [], regularizer=tf.abs)
                with pytest.raises(ValueError, match="already exists"):
                    tf.compat.v1.get_variable("weight", [])
                return collections.collection_of_replica(graph, key)

        found = [contextvars.copy_context().run(replica, number) for number in range(2)]
        assert [len(each) for each in found] == [1, 1]
        assert all(isinstance(each[0], tf.Tensor) for each in found)  # computed where it was made
        shared, *of_replicas = collections.collection_of_replica(graph, key)
        assert of_replicas == found[0] + found[1]
        with collections.seen_by_replica(graph, 1):
            assert graph.get_collection(key) == [shared, *found[1]]
            graph.add_to_collection(key, shared + 1)
        assert len(graph.get_collection(key)) == 4


OPTIMIZERS = {
    "Adadelta": tf.compat.v1.train.AdadeltaOptimizer,
    "Adagrad": tf.compat.v1.train.AdagradOptimizer,
    "Adam": tf.compat.v1.train.AdamOptimizer,
    "Ftrl": tf.compat.v1.train.FtrlOptimizer,
    "GradientDescent": tf.compat.v1.train.GradientDescentOptimizer,
    "Momentum": lambda rate: tf.compat.v1.train.MomentumOptimizer(rate, 0.9),
    "ProximalAdagrad": tf.compat.v1.train.ProximalAdagradOptimizer,
    "ProximalGradientDescent": tf.compat.v1.train.ProximalGradientDescentOptimizer,
    "RMSProp": tf.compat.v1.train.RMSPropOptimizer,
    "Keras's SGD": keras.optimizers.SGD,
    "Keras's Adam": keras.optimizers.Adam,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_learning_rate_of_an_optimizer_is_found_and_replaced(name):
    variables = [tf.Variable(1.0), tf.Variable(1.0)]
    with relying_on(f"the learning rate of {name}, _learning_rate or _lr", "optimizers") as optimizers:
        expected, replaced = OPTIMIZERS[name](0.5), OPTIMIZERS[name](0.25)
        assert optimizers.learning_rate_of(replaced) == 0.25
        assert optimizers.set_learning_rate(replaced, tf.constant(0.5))
        assert optimizers.learning_rate_of(replaced) == 0.5
        for optimizer, variable in zip((expected, replaced), variables, strict=True):
            optimizer.apply_gradients([(tf.constant(1.0), variable)])
        np.testing.assert_allclose(variables[1], variables[0])
        assert variables[0] != 1.0


def test_the_step_counter_of_a_keras_optimizer_can_be_shared():
    with relying_on("(Keras) Optimizer._iterations", "optimizers") as optimizers:
        optimizer, variable = keras.optimizers.SGD(0.1), keras.Variable(1.0)
        optimizers.share_step_counter(optimizer)
        optimizer.build([variable])
        graph = tf.function(lambda: optimizer.apply([tf.constant(1.0)])).get_concrete_function().graph
        counter = next(inner for outer, inner in graph.captures if outer is optimizer.iterations.value.handle)
        assert [op.type for op in counter.consumers() if op.type.startswith("Assign")] == ["AssignAddVariableOp"]


def test_an_optimizer_sees_constraints_and_no_slices():
    own = lambda value: value  # noqa: E731
    with relying_on("_constraint and _save_slice_info of a variable", "variables") as variables:
        plain, constrained = tf.Variable(1.0), tf.Variable(-1.0, constraint=tf.abs)
        with variables.seen_by_optimizer([plain, constrained], lambda each: own if each is plain else None):
            assert (plain.constraint, constrained.constraint) == (own, None)
            tf.compat.v1.train.MomentumOptimizer(0.5, 0.0).apply_gradients([(tf.constant(1.0), constrained)])
            assert constrained == -1.5
        assert (plain.constraint, constrained.constraint) == (None, tf.abs)


def test_what_scales_losses_tells_its_scale_and_the_optimizer_inside():
    with relying_on("_optimizer and _loss_scale of MixedPrecisionLossScaleOptimizer", "optimizers") as optimizers:
        plain = tf.compat.v1.train.GradientDescentOptimizer(0.5)
        scaling = tf.compat.v1.mixed_precision.MixedPrecisionLossScaleOptimizer(plain, 8.0)
        assert optimizers.inside(scaling) is plain
        assert optimizers.loss_scale_of(scaling) == 8
        assert optimizers.learning_rate_of(scaling) == 0.5
        of_keras = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.25), initial_scale=4.0)
        assert optimizers.inside(of_keras) is of_keras.inner_optimizer
        assert (optimizers.loss_scale_of(of_keras), optimizers.learning_rate_of(of_keras)) == (4, 0.25)
        assert optimizers.set_learning_rate(of_keras, tf.constant(0.125))
        assert of_keras.inner_optimizer.learning_rate == 0.125


def test_an_optimizer_of_keras_keeps_what_it_was_built_for():
    with relying_on("(Keras) Optimizer._trainable_variables", "optimizers") as optimizers:
        own, of_tensorflow = keras.Variable(1.0), tf.Variable(2.0)
        optimizer = keras.optimizers.SGD(0.1, use_ema=True)
        optimizer.build([own, of_tensorflow])
        assert [id(each) for each in optimizers.trained_by(optimizer)] == [id(own.value), id(of_tensorflow)]
        assert optimizers.finishing(optimizer) == [optimizer]
        assert optimizers.finishing(keras.optimizers.SGD(0.1)) == []
