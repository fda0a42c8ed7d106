import subprocess
import sys

import pytest

from mox_core import cli


def test_without_pytest_the_command_says_what_to_install():
    program = "import sys; sys.modules['pytest'] = None; from mox_core import cli; sys.exit(cli.main(['check', 'zoo']))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    message = "mox: error: mox check needs pytest, which is not installed: pip install pytest\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", message)


def test_a_plugin_must_be_named(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["check"])
    assert caught.value.code == 2
    assert "the following arguments are required: plugin" in capsys.readouterr().err
