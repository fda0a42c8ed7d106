"""mox's flags, in real scripts: each with the command line of its own process."""

import subprocess
import sys
import textwrap

import pytest


def run_script(tmp_path, script, *arguments):
    """Run `script` with the command line `arguments`."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script), encoding="utf-8")
    command = [sys.executable, "-W", "error", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path)


@pytest.fixture
def output_of(tmp_path):
    """Return a function that runs a script and gives what it printed."""

    def run(script, *arguments):
        result = run_script(tmp_path, script, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    return run


@pytest.fixture
def error_of(tmp_path):
    """Return a function that runs a script that fails and gives the error it ended with."""

    def run(script, *arguments):
        result = run_script(tmp_path, script, *arguments)
        assert result.returncode != 0, result.stdout
        return result.stderr[result.stderr.index("mox_core.errors.") :].strip()

    return run


def test_a_script_without_flags_of_its_own(output_of):
    script = """
        import mox_core as mox
        hosts = mox.get_flag(flag_name='worker_hosts').split(',')
        print(mox.get_flag('num_gpus'), hosts, mox.get_flag('sync_replicas'))
    """
    assert output_of(script) == "1 [''] True"
    arguments = ["--num_gpus=4", "--worker_hosts", "a:1,b:2", "--sync_replicas=False", "--data_url=x", "rest"]
    assert output_of(script, *arguments) == "4 ['a:1', 'b:2'] False"
    assert output_of(script, "-num_gpus", "2", "--nosync_replicas") == "2 [''] False"


def test_the_defaults(output_of):
    script = """
        import mox_core as mox
        for name in ('num_gpus', 'job_name', 'task_index', 'ps_hosts', 'worker_hosts', 'sync_replicas',
                     'log_first_clone', 'checkpoint_exclude_patterns', 'checkpoint_include_patterns', 'max_to_keep',
                     'trainable_exclude_patterns', 'trainable_include_patterns', 'gradient_clip_type',
                     'gradient_clip', 'loss_scale', 'session_timeout'):
            print(repr(mox.get_flag(name)), end=' ')
    """
    assert output_of(script) == "1 '' 0 '' '' True True '' '' 5 '' '' '' 0.0 1.0 600"


def test_argparse_takes_its_own_and_leaves_the_rest(output_of):
    script = """
        import argparse
        import mox_core as mox
        parser = argparse.ArgumentParser()
        parser.add_argument('--batch_size', type=int)
        parsed, rest = parser.parse_known_args()
        print(parsed.batch_size, rest, mox.get_flag('num_gpus'))
    """
    assert output_of(script, "--batch_size=8", "--num_gpus=2") == "8 ['--num_gpus=2'] 2"


def test_absl_parses_strictly_with_names_of_mox_on_the_command_line(output_of):
    script = """
        from absl import app, flags
        import mox_core as mox
        flags.DEFINE_string('data_url', './', 'where the images are')
        def main(rest):
            print(flags.FLAGS.data_url, rest[1:], mox.get_flag('job_name'), mox.get_flag('task_index'))
        app.run(main)
    """
    assert output_of(script, "--job_name=worker", "--data_url=here", "--task_index=1") == "here [] worker 1"


@pytest.mark.parametrize("order", ["before", "after", "without a value"])
def test_a_name_that_the_script_defines_too_does_not_clash(output_of, order):
    define = "flags.DEFINE_integer('num_gpus', 7, 'theirs', lower_bound=0)"
    script = f"""
        from absl import app, flags
        {define if order == "before" else ""}
        import mox_core as mox
        {define if order != "before" else ""}
        app.run(lambda rest: print(flags.FLAGS.num_gpus, flags.FLAGS['num_gpus'].help, mox.get_flag('num_gpus')))
    """
    if order == "without a value":
        assert output_of(script) == "7 theirs 1"
    else:
        assert output_of(script, "--num_gpus=2") == "2 theirs 2"


def test_a_name_that_the_script_defines_with_other_values_is_the_scripts(output_of):
    script = """
        from absl import app, flags
        import mox_core as mox
        flags.DEFINE_list('num_gpus', [], 'which ones')
        flags.DEFINE_string('job_name', 'mine', 'what the job is called')
        def main(rest):
            print(flags.FLAGS.num_gpus, flags.FLAGS.job_name, mox.get_flag('num_gpus'), [mox.get_flag('job_name')])
        app.run(main)
    """
    assert output_of(script, "--num_gpus=0,1", "--job_name=monday") == "['0', '1'] monday 1 ['']"


@pytest.mark.parametrize("imported_first", ["mox_core", "tensorflow"])
def test_log_dir_is_a_scripts_though_absl_has_it_for_its_own_logging(output_of, imported_first):
    script = f"""
        import {imported_first}
        import mox_core
        from absl import flags
        flags.DEFINE_string('log_dir', None, 'train_dir or eval_dir')
        import tensorflow as tf
        print(tf.compat.v1.flags.FLAGS.log_dir)
    """
    assert output_of(script, "--num_gpus=4", "--log_dir=here") == "here"


@pytest.mark.parametrize("imported_first", ["mox_core as mox", "tensorflow as tf"])
def test_flags_of_tensorflow_are_read_at_module_level(output_of, imported_first):
    script = f"""
        import {imported_first}
        import mox_core as mox
        import tensorflow as tf
        tf.compat.v1.flags.DEFINE_string('data_url', './', 'where the images are')
        tf.compat.v1.flags.DEFINE_integer('batch_size', 32, 'samples a step')
        flags = tf.compat.v1.flags.FLAGS
        print(flags.data_url, flags.batch_size, mox.get_flag('num_gpus'))
    """
    assert output_of(script, "--num_gpus=4", "--data_url=here") == "here 32 4"


def test_flags_that_are_read_before_mox_is_imported_stay_what_they_are(output_of):
    script = """
        import tensorflow as tf
        tf.compat.v1.flags.DEFINE_string('data_url', './', 'where the images are')
        before = tf.compat.v1.flags.FLAGS.data_url
        import mox_core as mox
        print(before, tf.compat.v1.flags.FLAGS.data_url, mox.get_flag('num_gpus'))
    """
    assert output_of(script, "--data_url=here") == "here here 1"


def test_an_empty_flag_is_empty_and_not_the_default(output_of):
    script = """
        import mox_core as mox
        from absl import flags
        flags.DEFINE_string('data_url', 's3://default', 'where the images are')
        flags.FLAGS(['script', '--data_url='])
        print([flags.FLAGS.data_url])
    """
    assert output_of(script) == "['']"


def test_app_run_of_tensorflow(output_of):
    script = """
        import mox_core as mox
        import tensorflow as tf
        flags = tf.compat.v1.flags
        flags.DEFINE_integer('num_gpus', 1, 'theirs')
        def main(_):
            print(flags.FLAGS.num_gpus, mox.get_flag('num_gpus'), mox.get_flag('max_to_keep'))
        if __name__ == '__main__':
            tf.compat.v1.app.run()
    """
    assert output_of(script, "--num_gpus=4", "--max_to_keep=0", "--nobody_defines_this=1") == "4 4 0"


def test_set_flag_goes_over_the_command_line(output_of):
    script = """
        import mox_core as mox
        mox.set_flag('num_gpus', 2)
        mox.set_flag('checkpoint_exclude_patterns', 'global_step,logits')
        print(mox.get_flag('num_gpus'), mox.get_flag('checkpoint_exclude_patterns'))
    """
    assert output_of(script, "--num_gpus=4", "--checkpoint_exclude_patterns=conv1") == "2 global_step,logits"


def test_an_unknown_name_says_what_is_near_and_what_is_known(error_of):
    assert error_of("import mox_core as mox; mox.get_flag('num_gpu')") == (
        "mox_core.errors.UnknownNameError: unknown flag 'num_gpu'.\n"
        "Did you mean 'num_gpus'?\n"
        "Known: checkpoint_exclude_patterns, checkpoint_include_patterns, clone_on_cpu, gradient_clip, "
        "gradient_clip_type, job_name, "
        "log_first_clone, loss_scale, max_to_keep, num_gpus, num_inter_threads, num_intra_threads, plain, "
        "ps_hosts, session_timeout, sync_replicas, task_index, trackers, "
        "trainable_exclude_patterns, trainable_include_patterns, worker_hosts."
    )
    script = """
        from absl import flags
        import mox_core as mox
        flags.DEFINE_string('data_url', './', '')
        mox.set_flag('data_url', 'here')
    """
    assert "\nThe script defines it: read absl.flags.FLAGS.data_url.\nKnown: " in error_of(script)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("num_gpus", 0, "a whole number, 1 or more"),
        ("num_gpus", "4", "a whole number, 1 or more"),
        ("num_gpus", True, "a whole number, 1 or more"),
        ("task_index", -1, "a whole number, 0 or more"),
        ("session_timeout", -1, "a whole number, 0 or more"),
        ("session_timeout", 0.5, "a whole number, 0 or more"),
        ("sync_replicas", 0, "True or False"),
        ("worker_hosts", ["a:1"], "a string"),
        ("checkpoint_exclude_patterns", None, "a string"),
        ("job_name", "chief", "one of '', 'ps', 'worker', 'controller'"),
    ],
)
def test_set_flag_refuses_a_wrong_value(name, value, rule):
    import mox_core as mox

    with pytest.raises(mox.UsageError) as refusal:
        mox.set_flag(name, value)
    assert str(refusal.value) == f"flag {name!r} cannot be {value!r}: it is {rule}."


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--num_gpus=four", "flag --num_gpus=four: "),
        ("--num_gpus=0", "flag --num_gpus=0: "),
        ("--num_gpus", "Missing value for flag --num_gpus"),
    ],
)
def test_a_wrong_value_on_the_command_line_is_told_when_it_is_asked_for(error_of, output_of, argument, said):
    assert output_of("import mox_core as mox; print(mox.get_flag('max_to_keep'))", argument) == "5"
    error = error_of("import mox_core as mox; mox.get_flag('num_gpus')", argument)
    assert error.startswith(f"mox_core.errors.UsageError: {said}")
    assert error.endswith(
        "\n--num_gpus is a whole number, 1 or more. If the script means something else by --num_gpus, "
        "call mox.set_flag('num_gpus', 1) before anything reads it."
    )


def test_a_number_may_be_whole_or_a_fraction_or_a_word_that_the_flag_knows(output_of):
    script = """
        import mox_core as mox
        print(repr(mox.get_flag('loss_scale')), end=' ')
        mox.set_flag('loss_scale', 1024)
        print(repr(mox.get_flag('loss_scale')), end=' ')
        mox.set_flag('loss_scale', 'dynamic')
        print(mox.get_flag('loss_scale'), mox.get_flag('gradient_clip'))
    """
    assert output_of(script, "--loss_scale=128", "--gradient_clip=0.25") == "128.0 1024.0 dynamic 0.25"
    assert output_of(script, "--loss_scale=dynamic") == "'dynamic' 1024.0 dynamic 0.0"


@pytest.mark.parametrize("value", ["0.5", "nan", "inf", "large", ""])
def test_a_number_that_a_flag_does_not_allow_is_refused_with_the_rule(error_of, value):
    error = error_of("import mox_core as mox; mox.get_flag('loss_scale')", f"--loss_scale={value}")
    assert "--loss_scale is a number of 1 or more, or 'dynamic'." in error


@pytest.mark.parametrize("value", ["True", "0.5", "'large'", "float('nan')", "None"])
def test_a_program_cannot_set_a_number_that_a_flag_does_not_allow(error_of, value):
    error = error_of(f"import mox_core as mox; mox.set_flag('loss_scale', {value})")
    assert error.endswith("it is a number of 1 or more, or 'dynamic'.")


ASKING = """
        import mox_core as mox
        try:
            mox.run(input_fn=lambda mode: None, model_fn=lambda inputs, mode: None, run_mode='no such mode')
        except mox.UsageError:
            pass
        try:
            mox.run(input_fn=lambda mode: None, model_fn=lambda inputs, mode: None, run_mode=mox.ModeKeys.TRAIN,
                    batch_size=0)
        except mox.UsageError:
            print(mox.get_flag('num_gpus'))
"""


def warnings_of(tmp_path, script, *arguments):
    """Return the flags that a script is warned of before it trains, each with what is proposed."""
    done = run_script(tmp_path, textwrap.dedent(script) + textwrap.dedent(ASKING) * 2, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "1"
    between = " on the command line is no flag of mox, and nothing in this program seems to read it: did you mean "
    return [line.split(between) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("--num_gpu=2", "'--num_gpus'"),
        ("-num_gpu", "'--num_gpus'"),
        ("--num-gpus=2", "'--num_gpus'"),
        ("--NUM_GPUS=2", "'--num_gpus'"),
        ("--worker_host=a:1,b:2", "'--worker_hosts'"),
        ("--nosync_replica", "'--nosync_replicas'"),
        ("--checkpoint_exclude_pattern=logits", "'--checkpoint_exclude_patterns'"),
        ("--loss_scal=" + 200 * "9", "'--loss_scale'"),
    ],
)
def test_a_misspelt_flag_that_nobody_knows_is_named_once_with_the_right_name(tmp_path, argument, meant):
    shown = repr(argument if len(argument) < 80 else argument[:80] + "...")
    assert warnings_of(tmp_path, "", argument) == [[shown, f"{meant}?"]]


KNOWN_ELSEWHERE = {
    "absl": "from absl import flags; flags.DEFINE_integer('num_gpu', 1, '')",
    "argparse": "import argparse; argparse.ArgumentParser().add_argument('--num_gpu')",
    "argparse, which lives and was told at run time": """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--num_" + "gpu")
    """,
    "argparse, shortened": "import argparse; argparse.ArgumentParser().add_argument('--num_gpu_cards')",
    "a parser that reads a text": "usage = 'usage: train.py [--num_gpu=N]'",
    "a parser that reads parameters": "def main(*, num_gpu: int = 1): ...",
    "a parser that reads fields": "class Options:\n    num_gpu: int = 1",
    "the script itself": "import sys; mine = [each for each in sys.argv if each.startswith('--num_gpu')]",
}


@pytest.mark.parametrize("script", KNOWN_ELSEWHERE.values(), ids=KNOWN_ELSEWHERE)
def test_a_flag_that_the_script_reads_is_nobodys_mistake(tmp_path, script):
    assert warnings_of(tmp_path, script, "--num_gpu=2") == []


def test_what_is_not_near_or_not_for_mox_is_passed_over(tmp_path):
    arguments = ["--num_classes=2", "--batch_size=3", "--log_dir=x", "-v", "-5", "--data_url", "num_gpu"]
    assert warnings_of(tmp_path, "", *arguments, "--undefok=num_gpu", "--num_gpu=2", "--", "--ps_host=a") == []


def test_a_flag_that_a_module_of_the_script_reads_is_known(tmp_path):
    (tmp_path / "options.py").write_text("NAME = '--num_gpu'", encoding="utf-8")
    assert warnings_of(tmp_path, "import options", "--num_gpu=2") == []


def test_flags_of_moxing_without_a_meaning_here_are_taken_and_said_once_and_the_scripts_own_are_not(tmp_path):
    script = """
        import tensorflow.compat.v1 as tf
        import mox_core as mox
        tf.flags.DEFINE_integer('warmup_steps', 7, 'the script means something else by it')
        print(tf.flags.FLAGS.warmup_steps, mox.get_flag('dgc_momentum_type'), mox.get_flag('dgc_momentum'))
        mox.set_flag('variable_update', 'parameter_server')
        mox.set_flag('variable_update', 'replicated')
        for _ in range(2):
            mox.run(input_fn=lambda mode: tf.constant(0.0), run_mode=mox.ModeKeys.TRAIN, batch_size=1,
                    model_fn=lambda inputs, mode: mox.ModelSpec(loss=tf.get_variable('w', [])),
                    optimizer_fn=lambda: tf.train.GradientDescentOptimizer(0.1), max_number_of_steps=1)
        print(tf.config.threading.get_intra_op_parallelism_threads(), mox.get_flag('variable_update'))
    """
    given = ["--warmup_steps=3", "--num_intra_threads=2", "--dgc_momentum_type=nesterov", "--dgc_total_samples=9"]
    given += ["--use_fp16"]
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script), encoding="utf-8")
    done = subprocess.run([sys.executable, path, *given], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == "3 nesterov 0.0\n2 replicated\n", done.stderr
    said = [line for line in done.stderr.splitlines() if "no effect" in line]
    assert [line.split()[1] for line in said] == ["variable_update", "dgc_total_samples", "use_fp16"], said


def test_a_flag_without_a_meaning_is_still_of_its_type():
    import mox_core as mox

    with pytest.raises(mox.UsageError, match="flag 'use_fp16' cannot be 'yes': it is True or False"):
        mox.set_flag("use_fp16", "yes")
