"""Only the script and the modules beside it see TensorFlow 1."""

import subprocess
import sys

FOREIGN = """
import sys
import numpy
import tensorflow

def look():
    names = [(tensorflow, "flags"), (tensorflow, "contrib"), (sys, "maxint"), (numpy, "float_")]
    seen = [hasattr(module, name) for module, name in names]
    try:
        import moxing
    except ModuleNotFoundError:
        seen.append(False)
    try:
        xrange
    except NameError:
        seen.append(False)
    return seen, tensorflow.__version__ == "1.15.0", tensorflow.executing_eagerly()
"""

BESIDE = """
import sys
import tensorflow as tf
import numpy as np
from moxing.tensorflow.utils import tf_util

def look():
    return tf.__version__, tf.flags.FLAGS is not None, sys.maxint > 0, np.int, list(xrange(2)), tf_util.version_info()
"""


def test_a_foreign_module_sees_nothing_of_it_and_sys_modules_holds_nothing_false(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "foreign.py").write_text(FOREIGN, "utf-8")
    package = tmp_path / "project" / "parts"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import beside\n", "utf-8")
    (package / "beside.py").write_text(BESIDE, "utf-8")
    script = tmp_path / "project" / "train.py"
    script.write_text(
        f"""
import sys
sys.path.append({str(tmp_path / "elsewhere")!r})
import foreign
import tensorflow as tf
import tensorflow.contrib.slim as slim
from tensorflow.python.framework import ops
from parts import beside
import moxing.tensorflow as mox
assert mox.run and ops.Graph is tf.Graph and slim.conv2d and tf.VERSION == '1.15.0'
assert type(tf).__name__ == 'View' and sys.argv[1:] == ['--own', '1'] and __name__ == '__main__'
print(foreign.look())
print(beside.look())
strange = [name for name in sys.modules if name.startswith(('moxing', 'tensorflow.contrib', 'tensorflow.examples'))]
views = [name for name, module in sys.modules.items() if type(module).__module__.startswith('mox_tf1')]
print(strange, views, sys.modules['tensorflow'].__version__[0], hasattr(sys.modules['sys'], 'maxint'))
""",
        "utf-8",
    )
    command = [sys.executable, "-m", "mox_tf1", script, "--own", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    foreign, beside, modules = done.stdout.splitlines()
    assert foreign == "([False, False, False, False, False, False], False, True)"
    assert beside == "('1.15.0', True, True, <class 'int'>, [0, 1], (1, 15, 0))"
    assert modules == "[] [] 2 False"


def test_a_script_that_fails_shows_its_own_line_first(tf1):
    done = tf1(
        """
        import tensorflow as tf
        def model_fn():
            return tf.contrib.crf.crf_log_likelihood
        model_fn()
        """,
        rc=1,
    )
    lines = done.stderr.splitlines()
    assert lines[0] == "train.py:4: return tf.contrib.crf.crf_log_likelihood"
    assert lines[1].startswith("AttributeError: tf.contrib.crf went with TensorFlow 2")
    assert lines[3] == "Traceback (most recent call last):"
    assert 'train.py", line 5, in <module>' in lines[4]


def test_a_failure_inside_mox_run_shows_the_scripts_line_and_exits_are_the_scripts(tf1):
    script = """
        import sys
        import tensorflow as tf
        import moxing.tensorflow as mox
        if len(sys.argv) > 1:
            sys.exit(int(sys.argv[1]))
        mox.run(input_fn=lambda mode: tf.constant(0.0), model_fn=lambda inputs, mode: mox.ModelSpec(), run_mode='TRAIN',
                optimizer_fn=mox.get_optimizer_fn('sgd', learning_rate=0.1), batch_size=1, max_number_of_steps=-1)
    """
    lines = tf1(script, rc=1).stderr.splitlines()
    assert lines[0].startswith("train.py:7: mox.run(input_fn=")
    assert "max_number_of_steps" in lines[1]
    tf1(script, 5, rc=5)


def test_check_names_what_will_not_work_by_line_and_runs_nothing(tf1, tmp_path):
    (tmp_path / "beside.py").write_text("import tensorflow as tf\nx = tf.estimator.DNNClassifier\n", "utf-8")
    done = tf1(
        """
        import tensorflow as tf
        import moxing.tensorflow as mox
        import no_such_package
        import moxing.pytorch
        from tensorflow.contrib import seq2seq, slim
        import beside
        contrib = tf.contrib
        raise SystemExit("it ran")

        def model_fn():
            tf.contrib.slim.fully_connected(tf.layers.dense, contrib.slim.no_such_layer)
            return mox.builtin_algorithms.train(tf.no_such_name, mox.ImageClassificationRawDatset)
        """,
        options=["--check"],
        rc=1,
    )
    found = done.stdout.splitlines()
    wanted = [
        "train.py:4: no module 'no_such_package' is installed, or beside the script.",
        "train.py:5: mox trains with TensorFlow only: this part of MoXing is not there.",
        "train.py:6: tf.contrib.seq2seq went with TensorFlow 2",
        "train.py:12: tf.contrib.slim.no_such_layer went with TensorFlow 2",
        "train.py:13: TensorFlow 1.15.0, as mox-tf1 gives it, has no tf.no_such_name.",
        "train.py:13: module 'mox_core' has no attribute 'ImageClassificationRawDatset'. Did you mean",
        "train.py:13: builtin_algorithms.train was a program of the platform",
        "beside.py:2: tf.estimator.DNNClassifier is not there",
    ]
    assert len(found) == len(wanted), found
    for text in wanted:
        assert any(line.startswith(text) for line in found), (text, found)
    clean = tf1("import tensorflow as tf\nprint(tf.contrib.layers.xavier_initializer)\n", options=["--check"])
    assert clean.stdout == ""


def test_the_command_refuses_a_script_that_is_not_there_and_steps_that_are_none(tf1):
    import forked

    command = [sys.executable, "-m", "mox_tf1"]
    missing = forked.run([*command, "nowhere.py"], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr) == (
        2,
        "mox tf1: error: the script 'nowhere.py' cannot be read: No such file or directory.\n",
    )
    assert "'0' is no whole number of 1 or more" in tf1("", options=["--max_steps", 0], rc=2).stderr


def test_the_check_of_names_that_modules_have_lost_goes_on(tf1):
    done = tf1(
        """
        import string
        import time
        import tensorflow as tf
        print(string.join(['a'], '-'), time.nope, tf.contrib.rnn.LSTMBlockCell)
        """,
        options=["--check"],
        rc=1,
    )
    assert len(done.stdout.splitlines()) == 3
    assert "Traceback" not in done.stderr
