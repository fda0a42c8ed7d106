"""What mox relies on inside TensorFlow, one test for each name: a new release of TensorFlow tells here what it changed.

Of Keras's names, `test_keras_internals.py` does so; of what a run replaces, `test_tf_patches.py`.
"""

import contextlib
import contextvars
import importlib
import json
import logging
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"tensorflow\.(?:core|lite)\.|tensorflow[./]python\b|keras\.src\b|__internal__|noqa:.*(?:SLF001|TID251)"
)
"""What only the modules of `docs/tensorflow-internals.md` hold. Of it, ruff sees imports and private attributes."""


@contextlib.contextmanager
def relying_on(names, module):
    """Give a module of `tf_internals`, and turn whatever fails in the block into what TensorFlow has changed."""
    try:
        yield importlib.import_module(f"mox_core.engine.tf_internals.{module}")
    except Exception as error:  # noqa: BLE001  (whatever a new release does)
        where = f"mox_core/engine/tf_internals/{module}.py"
        pytest.fail(f"TensorFlow renamed or changed {names}: see {where}\n{type(error).__name__}: {error}")


def wrap(function, *signature):
    """Trace a function as mox does with `model_fn`."""
    return tf.compat.v1.wrap_function(function, list(signature))


def current_graph():
    return tf.compat.v1.get_default_graph()


def ops_of(graph, kind):
    return [op for op in graph.get_operations() if op.type == kind]


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


def test_the_graph_of_a_function_is_told_from_branches_and_loops():
    seen = {}
    with relying_on("the class name FuncGraph, or FuncGraph.outer_graph", "func_graph") as func_graph:

        def note(name):
            seen[name] = func_graph.is_in_function(current_graph(), seen["outer"])
            return tf.constant(1.0)

        def body(condition):
            seen["outer"] = current_graph()
            note("itself")
            tf.while_loop(lambda x: x < 1.0, lambda x: x + note("loop"), [tf.constant(0.0)])
            tf.cond(condition, lambda: note("branch"), lambda: tf.constant(0.0))
            tf.function(lambda: tf.cond(condition, lambda: note("function"), lambda: tf.constant(0.0)))()
            return note("after")

        wrap(body, tf.TensorSpec([], tf.bool))
        del seen["outer"]
        assert seen == {"itself": False, "loop": False, "branch": False, "function": True, "after": False}


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


def test_keras_names_the_state_of_a_seed_generator():
    with relying_on("(Keras) the name of SeedGenerator.state", "variables") as variables:
        generator = keras.random.SeedGenerator(1, name="drop")
        assert f"/{generator.state.path}".endswith(variables.SEED_GENERATOR_STATE)


def test_replicas_in_one_graph_have_variables_and_collections_of_their_own():
    names = "variable_scope._VARSTORE_KEY or _VariableStore, or Graph.add_to_collection and get_collection_ref"
    key = tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES
    with relying_on(names, "replica_collections") as collections, tf.Graph().as_default() as graph:
        collections.prepare_graph(graph)

        def replica():
            with collections.replica_scope():
                tf.compat.v1.get_variable("weight", [], regularizer=tf.abs)
                with pytest.raises(ValueError, match="already exists"):
                    tf.compat.v1.get_variable("weight", [])
                return collections.collection_of_replica(graph, key)

        found = [contextvars.copy_context().run(replica) for _ in range(2)]
        assert [len(each) for each in found] == [1, 1]
        assert collections.collection_of_replica(graph, key) == found[0] + found[1]


def test_a_function_of_another_process_is_called_by_its_token():
    with relying_on("script_ops._py_funcs or its _funcs", "remote_functions") as functions:
        with functions.remote_function("mox/test", lambda: b"answer"):
            assert functions.call_remote_function("mox/test", "/CPU:0") == b"answer"
        with pytest.raises(tf.errors.OpError, match="mox/test"):
            functions.call_remote_function("mox/test", "/CPU:0")


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


@pytest.mark.parametrize("options", [{}, {"num_parallel_calls": 2}])
def test_the_error_for_samples_of_different_shapes_is_recognized(options):
    dataset = tf.data.Dataset.range(1, 3).map(lambda n: tf.zeros([n])).batch(2, **options)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(dataset)
    with relying_on("the error of Dataset.batch for different shapes", "error_messages") as errors:
        assert errors.has_different_shapes(caught.value), caught.value.message


def test_the_error_for_connecting_too_late_is_recognized():
    tf.constant(1.0)
    hosts = tf.train.ClusterSpec({"worker": ["localhost:1", "localhost:2"]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        hosts, task_type="worker", task_id=0, rpc_layer="grpc"
    )
    with pytest.raises(RuntimeError) as caught:
        tf.distribute.MultiWorkerMirroredStrategy(resolver)
    with relying_on("the error for collectives after the first operation", "error_messages") as errors:
        assert errors.connects_too_late(caught.value), caught.value


LOST = """
import json, os, signal, socket, sys, time
os.environ["GRPC_FAIL_FAST"] = "use_caller"
import tensorflow as tf
from mox_core.engine.tf_internals.error_messages import lost_worker

def address():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return f"localhost:{listener.getsockname()[1]}"

def serve(job):
    pid = os.fork()
    if pid == 0:
        server = tf.distribute.Server(spec, job_name=job, task_index=0)
        time.sleep(100)
        os._exit(0)
    return pid

def device(job):
    return tf.device(f"/job:{job}/replica:0/task:0/device:CPU:0")

def read_from_afar():
    with device(reader):
        return read().numpy()

lost, reader = sys.argv[1:]
spec = tf.train.ClusterSpec({job: [address()] for job in ("chief", "worker", "ps")})
pids = {job: serve(job) for job in (lost, reader)}
try:
    tf.config.experimental_connect_to_cluster(spec, job_name="chief", task_index=0, protocol="grpc")
    with device(lost):
        variable = tf.Variable(1.0)
    read = tf.function(lambda: variable.read_value() + 1)
    assert read_from_afar() == 2.0
    os.kill(pids[lost], signal.SIGKILL)
    os.waitpid(pids.pop(lost), 0)
    try:
        read_from_afar()
    except tf.errors.OpError as error:
        print(json.dumps([lost_worker(error), str(error)]), flush=True)
finally:
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    os._exit(0)
"""
"""Ends a process whose variable another one reads; prints what TensorFlow raises at the chief."""


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "reader"), [("worker", "ps"), ("ps", "worker")])
def test_the_error_for_a_lost_worker_is_told_from_that_for_a_lost_parameter_server(lost, reader, run_python):
    recognized, text = json.loads(run_python(LOST, lost, reader).stdout.splitlines()[-1])
    with relying_on("the errors for lost processes", "error_messages"):
        assert recognized == (lost == "worker"), text


EXPECTED_WARNINGS = {
    "ignore_seed_of_graph": (UserWarning, "Dataset.map with a random operation in a graph with a seed"),
    "ignore_missing_summary_writer": (UserWarning, "tf.compat.v1.summary without a writer"),
    "ignore_advice_on_tf1_layers": (UserWarning, "tf.layers.dense of tf_keras"),
}


def _warn(about):
    if about == "ignore_seed_of_graph":
        tf.compat.v1.set_random_seed(3)
        tf.data.Dataset.range(3).map(lambda n: tf.random.uniform([]) + tf.cast(n, tf.float32))
    elif about == "ignore_missing_summary_writer":
        tf.compat.v1.summary.scalar("x", 1.0)
    else:
        layers = importlib.import_module("tf_keras.api._v1.keras.__internal__.legacy.layers")
        layers.dense(tf.zeros([1, 1]), 1)
    return tf.constant(0.0)


@pytest.mark.parametrize("name", EXPECTED_WARNINGS)
def test_an_expected_warning_is_known_by_its_text(name):
    kind, about = EXPECTED_WARNINGS[name]
    with pytest.warns(kind):  # else nothing is left to be ignored
        wrap(lambda: _warn(name))
    with relying_on(f"the warning about {about}", "expected_warnings") as module, getattr(module, name)():
        wrap(lambda: _warn(name))  # warnings are errors in these tests


def test_a_line_of_a_strategy_is_known_by_the_file_that_it_comes_from():
    logger, records, handler = tf.get_logger(), [], logging.Handler()
    handler.emit = records.append
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        tf.distribute.MirroredStrategy(["CPU:0"])
        logger.info("of somebody else")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    with relying_on("where the lines of tf.distribute come from", "log_records") as module:
        told = [(module.comes_from_strategy(record), record.getMessage()[:22]) for record in records]
        assert told == [(True, "Using MirroredStrategy"), (False, "of somebody else")]
    records[0].levelno = logging.WARNING
    assert not module.comes_from_strategy(records[0])


def _is_fenced(path):
    return path.name == "tf_internals.py" or path.parent.name in {"tf_internals", "tf_patches"}


def test_no_other_module_touches_the_private_ground_of_tensorflow():
    sources = [*ROOT.glob("mox_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    outside = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        if not _is_fenced(path)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if PRIVATE.search(line)
    ]
    assert not outside, "move it to tf_internals/ or tf_patches/, and add it to docs/tensorflow-internals.md"


def test_the_document_names_every_module_behind_the_fence_and_tests_that_exist():
    text = (ROOT / "docs" / "tensorflow-internals.md").read_text("utf-8")
    sources = [*ROOT.glob("mox_core/engine/tf_*/*.py"), *ROOT.glob("plugins/*/src/*/tf_internals.py")]
    names = {f"{path.parent.name}/{path.name}" for path in sources if path.name != "__init__.py"}
    assert not {name for name in names if f"`{name}`" not in text}
    tests = "".join(path.read_text("utf-8") for path in ROOT.glob("**/tests/**/test_*.py"))
    assert not {name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests}
