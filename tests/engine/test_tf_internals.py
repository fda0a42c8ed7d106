"""What mox relies on inside TensorFlow, one test for each name: a new release of TensorFlow tells here what it changed.

Here are the names around graphs and functions, and the fence around all of them; of optimizers, of errors and of Keras
are the files beside this one; of what a run replaces, `test_tf_patches.py`.
"""

import re
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from private_names import current_graph, relying_on, wrap

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"tensorflow\.(?:core|lite)\.|tensorflow[./]python\b|keras\.src\b|__internal__|noqa:.*(?:SLF001|TID251)"
)
"""What only the modules of `docs/tensorflow-internals.md` hold. Of it, ruff sees imports and private attributes."""


def test_automatic_control_dependencies_order_a_graph_and_know_what_must_run():
    name = "AutomaticControlDependencies, its mark_as_return or ops_which_must_run"
    variable, seen = tf.Variable(1.0), {}
    with relying_on(name, "func_graph") as func_graph:

        def body():
            with func_graph.automatic_control_dependencies() as dependencies:
                variable.assign_add(1.0)
                result = dependencies.mark_as_return(variable.read_value())
            seen["types"] = {op.type for op in dependencies.ops_which_must_run}
            return result

        assert wrap(body)() == 2.0
        assert "AssignAddVariableOp" in seen["types"]


def test_results_wait_for_the_operations_that_they_are_given():
    name = "run_independently of AutomaticControlDependencies, or _add_control_inputs of an operation"
    variable = tf.Variable(1.0)
    with relying_on(name, "func_graph") as func_graph:

        def body():
            with func_graph.automatic_control_dependencies() as dependencies:
                put_back = variable.assign(5.0, read_value=False)
                variable.assign_add(1.0)
                dependencies.run_independently(put_back)
                result = dependencies.mark_as_return(tf.constant(0.0))
            must_run = dependencies.ops_which_must_run.difference([put_back])
            func_graph.wait_for([result], must_run)
            func_graph.run_always(current_graph(), must_run)
            return result

        traced = wrap(body)
        traced.prune([], func_graph.outputs(traced.graph))()
        assert variable == 2.0


def test_operations_take_another_tensor_in_place_of_one():
    with relying_on("_update_input of an operation", "func_graph") as func_graph:

        def body(one):
            squared = one * one
            result = squared + squared
            func_graph.replace_tensor(squared, tf.constant(5.0))
            return result

        assert wrap(body, tf.TensorSpec([]))(tf.constant(3.0)) == 10.0


def test_an_assignment_by_a_function_of_tf1_is_told_from_others():
    variable, average = tf.Variable(1.0), tf.train.ExponentialMovingAverage(0.5)
    average.apply([variable])
    made_by, seen = (
        {
            "assign": lambda: tf.compat.v1.assign(variable, 2.0),
            "assign_add": lambda: tf.compat.v1.assign_add(variable, 2.0),
            None: lambda: variable.assign(2.0),
            "of TensorFlow": lambda: average.apply([variable]),
        },
        {},
    )
    name = "the place of TF1's functions, tensorflow/python/ops/state_ops.py"
    with relying_on(name, "assignments") as assignments:

        def body():
            for function, make in made_by.items():
                before = len(current_graph().get_operations())
                make()
                ops = current_graph().get_operations()[before:]
                seen[function] = {assignments.tf1_function(op) for op in ops if op.type.startswith("Assign")}
            return tf.constant(0.0)

        wrap(body)
        assert seen == {"assign": {"assign"}, "assign_add": {"assign_add"}, None: {None}, "of TensorFlow": {None}}


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_an_assignment_of_a_layer_is_told_from_others(library):
    library = pytest.importorskip(library)
    variable = tf.Variable(1.0)

    class Counting(library.layers.Layer):
        def call(self, x):
            variable.assign_add(1.0)
            return x

    with relying_on("the place of Layer.__call__", "assignments") as assignments:
        told = []

        def body():
            Counting()(tf.ones([1]))
            variable.assign_add(1.0)
            ops = [op for op in current_graph().get_operations() if op.type.startswith("Assign")]
            told.extend(assignments.made_in_keras_layer(op) for op in ops)
            return tf.constant(0.0)

        wrap(body)
        assert told == [True, False]


def test_control_outputs_run_in_each_call():
    variable = tf.Variable(1.0)
    with relying_on("FuncGraph.control_outputs", "func_graph") as func_graph:

        def body():
            func_graph.run_always(current_graph(), [variable.assign_add(1.0, read_value=False)])
            return tf.constant(0.0)

        wrap(body)()
        assert variable == 2.0


def test_captures_pair_what_is_outside_with_placeholders():
    variable, constant = tf.Variable(1.0), tf.constant(2.0)
    with relying_on("FuncGraph.captures or Graph.building_function", "func_graph") as func_graph:
        graph = wrap(lambda: variable.read_value() + constant).graph
        pairs = func_graph.captures(graph)
        assert {id(outer) for outer, _ in pairs} == {id(variable.handle), id(constant)}
        assert {inner.op.type for _, inner in pairs} == {"Placeholder", "Const"}  # small constants are copied
        assert all(inner.graph is graph for _, inner in pairs)
        assert func_graph.captures(tf.Graph()) == []


def test_deferred_captures_are_computed_at_each_call():
    names = "FuncGraph.deferred_internal_captures or deferred_external_captures"
    with relying_on(names, "func_graph") as func_graph:
        value = [3.0]
        traced = wrap(lambda: current_graph().capture_call_time_value(lambda: value[0], tf.TensorSpec([])))
        ((placeholder, function),) = func_graph.deferred_captures(traced.graph)
        assert placeholder.graph is traced.graph
        assert tf.nest.flatten(function()) == [3.0]
        assert traced() == 3.0


def test_a_traced_function_has_its_results_in_their_structure_and_one_after_another():
    with relying_on("FuncGraph.structured_outputs or outputs", "func_graph") as func_graph:
        traced = wrap(lambda x: {"b": x + 1.0, "a": (x,)}, tf.TensorSpec([]))
        results, outputs = func_graph.results(traced.graph), func_graph.outputs(traced.graph)
        assert (results["b"].op.type, results["b"].graph) == ("AddV2", traced.graph)
        assert [each is other for each, other in zip(outputs, [results["a"][0], results["b"]], strict=True)] == [
            True,
            True,
        ]


def test_a_graph_knows_its_variables_while_it_is_traced_and_later():
    variable, seen = tf.Variable(1.0), {}
    with relying_on("FuncGraph._watched_variables or variables", "func_graph") as func_graph:

        def body():
            result = variable + 1.0
            seen["watched"] = func_graph.watched_variables(current_graph())
            return result

        traced = wrap(body)
        assert [each is variable for each in seen["watched"]] == [True]
        assert [each is variable for each in func_graph.variables(traced.graph)] == [True]
        pruned = traced.prune([], list(traced.outputs))
        assert [each is variable for each in func_graph.variables(pruned.graph)] == [True]


def test_the_graph_around_a_branch_is_known_and_a_loop_is_no_branch():
    seen = {}
    with relying_on("CondBranchFuncGraph or FuncGraph.outer_graph", "func_graph") as func_graph:

        def note(name):
            seen[name] = func_graph.enclosing_graph(current_graph())
            return tf.constant(1.0)

        def body(condition):
            seen["graph"] = current_graph()
            tf.while_loop(lambda x: x < 1.0, lambda x: x + note("loop"), [tf.constant(0.0)])
            return tf.cond(condition, lambda: note("then"), lambda: note("else"))

        wrap(body, tf.TensorSpec([], tf.bool))
        assert seen["graph"] is seen["then"] is seen["else"]
        assert seen["loop"] is None


def test_a_graph_knows_the_graphs_around_it():
    made = {}
    with relying_on("FuncGraph.outer_graph", "func_graph") as func_graph:

        def note(name):
            made[name] = current_graph()
            return tf.constant(1.0)

        def body(condition):
            note("itself")
            function = tf.function(lambda: tf.cond(condition, lambda: note("function"), lambda: tf.constant(0.0)))
            return function()

        wrap(body, tf.TensorSpec([], tf.bool))
        tf.function(lambda: note("beside"))()
        within = {name: func_graph.is_within(graph, made["itself"]) for name, graph in made.items()}
        assert within == {"itself": True, "function": True, "beside": False}


def test_a_function_is_copied_and_traced_anew_and_a_graph_says_where_it_was_made():
    state, seen = ["before"], []

    @tf.function
    def function(x):
        seen.append(state[0])
        return x + 1

    class Holder(tf.Module):
        method = tf.function(lambda self, x: seen.append(state[0]) or x)  # noqa: ARG005

    holder = Holder()
    with relying_on("Function._clone, or how it is called", "traced_functions") as traced_functions:

        def call():
            holder.method(tf.constant(1.0))
            assert int(function(tf.constant(1))) == 2
            function.get_concrete_function(tf.constant(1))

        call()
        state[0] = "within"
        call()
        with traced_functions.watch():
            call()
            assert seen == ["before", "before"]
            with traced_functions.traced_anew(training=True):
                call()
                call()
            assert seen == ["before", "before", "within", "within"]
        call()
        assert seen == ["before", "before", "within", "within"]


def test_keras_names_the_state_of_a_seed_generator():
    with relying_on("(Keras) the name of SeedGenerator.state", "variables") as variables:
        generator = keras.random.SeedGenerator(1, name="drop")
        assert f"/{generator.state.path}".endswith(variables.SEED_GENERATOR_STATE)


def test_gradients_in_a_branch_count_what_was_made_outside_of_it():
    variable, table = tf.Variable(3.0), tf.Variable([[1.0], [2.0]])

    def step(add):
        graph = tf.compat.v1.get_default_graph()
        square, row = variable * variable, tf.gather(table, [1])

        def inside():
            loss = square + 2 * variable + tf.reduce_sum(row * row) + tf.reduce_sum(5 * tf.gather(table, [0]))
            return [tf.convert_to_tensor(each) for each in tf.gradients(loss, [variable, table])]

        with gradients.differentiable_through(graph):
            return tf.cond(add, inside, lambda: [tf.zeros([]), tf.zeros([2, 1])])

    with relying_on("gradients_util._GradientsHelper", "branch_gradients") as gradients:
        traced = tf.compat.v1.wrap_function(step, [tf.TensorSpec([], tf.bool)])
        of_variable, of_table = traced(tf.constant(True))
        assert (of_variable.numpy(), of_table.numpy().tolist()) == (8, [[5], [4]])


def test_a_function_of_another_process_is_called_by_its_token():
    with relying_on("script_ops._py_funcs or its _funcs", "remote_functions") as functions:
        with functions.remote_function("mox/test", lambda: b"answer"):
            assert functions.call_remote_function("mox/test", "/CPU:0") == b"answer"
        with pytest.raises(tf.errors.OpError, match="mox/test"):
            functions.call_remote_function("mox/test", "/CPU:0")


def test_a_graph_knows_the_functions_that_its_operations_call():
    with relying_on("FuncGraph._functions, AtomicFunction.cached_definition", "func_graph") as func_graph:

        def body():
            dataset = tf.data.Dataset.range(3).map(lambda n: tf.cond(n > 1, lambda: n * 2, lambda: n))
            return tf.identity(tf.data.experimental.to_variant(dataset))

        graph = wrap(body).graph
        found = func_graph.function_defs(graph)
        assert found.keys() == {each.signature.name for each in graph.as_graph_def().library.function}
        assert {"StatelessIf", "Greater", "Mul"} <= {node.op for each in found.values() for node in each.node_def}
    with relying_on("AtomicFunction.graph", "func_graph") as func_graph:
        graphs = func_graph.graphs_of_functions(graph)
        assert graphs.keys() == found.keys()
        (product,) = [op for each in graphs.values() for op in each.get_operations() if op.type == "Mul"]
        assert any(frame.filename == __file__ for frame in product.traceback)


def test_a_capture_of_a_graph_is_replaced_while_it_is_traced():
    outer, new = tf.constant(1.0), tf.constant(5.0)
    with relying_on("FuncGraph._function_captures, its by_val_internal or add_or_replace", "func_graph") as func_graph:

        def body():
            result = outer * 2.0
            func_graph.replace_capture(current_graph(), outer, new)
            return result

        traced = wrap(body)
        assert traced().numpy() == traced.prune([], func_graph.outputs(traced.graph)[0])().numpy() == 10.0


def test_a_dataset_knows_the_stages_that_it_was_made_of():
    rows = tf.data.Dataset.from_tensor_slices(tf.zeros([6, 2]))
    with relying_on("Dataset._inputs, _functions, the classes of its stages", "datasets") as datasets:
        stages = list(datasets.stages(tf.data.Dataset.zip((rows.shuffle(3), rows))))
        names = [type(each).__name__ for each in stages]
        assert names == ["_ZipDataset", "_ShuffleDataset", "_TensorSliceDataset", "_TensorSliceDataset"]
        assert sum(map(datasets.array_bytes, stages)) == 2 * 6 * 2 * 4
        of_tf1 = tf.compat.v1.data.Dataset.range(4).batch(2).prefetch(1)
        assert datasets.batched(of_tf1) == datasets.Batched("batch", 2, mapped=False)
        shuffled = rows.interleave(lambda row: tf.data.Dataset.from_tensor_slices(row).shuffle(2))
        assert "ShuffleDatasetV3" in datasets.op_types_of_functions(next(datasets.stages(shuffled)))


def _kept(rows):
    """The same elements, by all methods that keep them."""
    same = rows.cache().concatenate(rows).filter(lambda _: True).ignore_errors().prefetch(1).repeat(2).shard(2, 0)
    return same.shuffle(2).skip(1).take(3).take_while(lambda _: True).with_options(tf.data.Options())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda rows: _kept(rows.batch(2)), ("batch", 2, False)),
        (lambda rows: _kept(rows.batch(2, num_parallel_calls=2)), ("batch", 2, False)),
        (lambda rows: _kept(rows.padded_batch(2)), ("padded_batch", 2, False)),
        (lambda rows: _kept(rows.ragged_batch(2)), ("ragged_batch", 2, False)),
        (lambda rows: rows.batch(2).map(tf.identity), ("batch", 2, True)),
        (lambda rows: rows.batch(2).map(tf.identity, num_parallel_calls=2), ("batch", 2, True)),
        (_kept, None),
        (lambda rows: rows.batch(2).unbatch(), None),
    ],
)
def test_a_dataset_of_batches_is_told_from_one_of_samples(make, expected):
    rows = tf.data.Dataset.from_tensor_slices(tf.zeros([6, 2]))
    with relying_on("the classes of datasets, _batch_size", "datasets") as datasets:
        assert datasets.batched(make(rows)) == (expected and datasets.Batched(*expected[:2], mapped=expected[2]))


def test_a_block_outside_of_graphs_is_eager_in_any_graph():
    @tf.function
    def function():
        with eager_context.outside_of_graphs():
            return bool(tf.executing_eagerly()), tf.constant(1).numpy()

    with relying_on("eager_mode", "eager_context") as eager_context:
        with tf.Graph().as_default():
            with tf.init_scope():
                assert not tf.executing_eagerly()  # why `init_scope` does not serve
            with eager_context.outside_of_graphs():
                assert tf.constant(2).numpy() == 2
            assert not tf.executing_eagerly()
        assert tuple(map(int, function())) == (1, 1)


def _is_fenced(path):
    return path.name == "tf_internals.py" or path.parent.name in {"tf_internals", "tf_patches"}


PRIVATE_IN_PYTHON = ("threading._register_atexit", "parser._actions")
"""Private names of Python's own library, each with a comment and a test where it is used."""


def test_no_other_module_touches_the_private_ground_of_tensorflow():
    sources = [*ROOT.glob("mox_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    outside = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        if not _is_fenced(path)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if PRIVATE.search(line) and not any(name in line for name in PRIVATE_IN_PYTHON)
    ]
    assert not outside, "move it to tf_internals/ or tf_patches/, and add it to docs/tensorflow-internals.md"


def test_the_document_names_every_module_behind_the_fence_and_tests_that_exist():
    text = (ROOT / "docs" / "tensorflow-internals.md").read_text("utf-8")
    sources = [*ROOT.glob("mox_core/engine/tf_*/*.py"), *ROOT.glob("plugins/*/src/*/tf_internals.py")]
    names = {f"{path.parent.name}/{path.name}" for path in sources if path.name != "__init__.py"}
    assert not {name for name in names if f"`{name}`" not in text}
    tests = "".join(path.read_text("utf-8") for path in ROOT.glob("**/tests/**/test_*.py"))
    assert not {name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests}
