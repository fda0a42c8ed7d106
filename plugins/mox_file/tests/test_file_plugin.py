"""mox-file as a plugin."""

import subprocess
import sys

import pytest

import mox_core as mox
from mox_core.testing import PluginContract

OF_MOXING = """File read write append append_remote copy copy_parallel exists is_directory get_size glob list_directory
make_dirs mk_dir remove rename scan_dir walk stat shift set_auth background_sync_copy file_io
MoxFileNameDuplicateException MoxFileNotExistsException MoxFileReadException
MoxFileRespException""".split()  # noqa: SIM905  (a list of them is a page)


class TestPlugin(PluginContract):
    plugin_name = "file"


def test_mox_file_has_the_names_of_moxing():
    assert sorted(mox.file.__all__) == sorted(OF_MOXING)
    mox.file.file_io._NUMBER_OF_PROCESSES = 1  # as scripts do


@pytest.mark.parametrize("module", ["mox_file", "mox_file.plugin", "mox_file.file"])
def test_importing_it_loads_neither_tensorflow_nor_s3fs(module):
    program = f"import sys, {module}; print(*{{'tensorflow', 'keras', 'numpy', 's3fs', 'botocore'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
