import ast
import inspect

import pytest

import mox_core as mox
from installed_from import as_released
from mox_core.public_names import HOMES

API = """
from mox_core.plugins import ApiOffer, hookimpl

@hookimpl
def mox_api():
    yield ApiOffer("Thing", "{package}.plugin:Thing", summary="a thing")

class Thing:
    pass
"""


def names_for_type_checkers():
    tree = ast.parse(inspect.getsource(mox))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


def test_type_checkers_see_the_names_of_the_table():
    assert names_for_type_checkers() == HOMES
    assert mox.__all__ == list(HOMES)


def test_light_names_are_found_where_the_table_says():
    assert mox.ModelSpec is __import__("mox_core.specs").specs.ModelSpec
    assert mox.get_model_fn is __import__("mox_core.catalog").catalog.get_model_fn
    assert mox.MoxError is __import__("mox_core.errors").errors.MoxError


def test_the_version_is_the_distributions():
    assert mox.__version__ == "0.1.0"


@pytest.mark.usefixtures("fresh_plugins")
def test_a_name_that_a_plugin_offers_stands_on_mox(install_fake):
    install_fake("things", "things", API.format(package="things"))
    assert mox.Thing.__module__ == "things.plugin"
    assert hasattr(mox, "Thing")
    assert "Thing" in dir(mox)


@pytest.mark.usefixtures("fresh_plugins")
def test_every_name_is_listed():
    assert set(dir(mox)) == {*mox.__all__, "__version__"}


@pytest.mark.usefixtures("fresh_plugins")
def test_a_name_of_a_plugin_that_is_not_installed_says_what_to_install():
    assert not hasattr(mox, "LogEvaluationMetricHook")
    with pytest.raises(AttributeError) as caught:
        mox.LogEvaluationMetricHook  # noqa: B018
    assert isinstance(caught.value, mox.UnknownNameError)
    assert as_released(str(caught.value)).splitlines()[:2] == [
        "module 'mox_core' has no attribute 'LogEvaluationMetricHook'.",
        "Install mox-hooks, which offers it: pip install mox-hooks",
    ]


@pytest.mark.usefixtures("fresh_plugins")
def test_a_misspelt_name_of_the_core_proposes_the_nearest():
    with pytest.raises(AttributeError) as caught:
        mox.ModelSpecs  # noqa: B018
    assert str(caught.value).splitlines()[:2] == [
        "module 'mox_core' has no attribute 'ModelSpecs'.",
        "Did you mean 'ModelSpec'?",
    ]


@pytest.mark.usefixtures("fresh_plugins")
def test_a_name_that_two_plugins_offer_is_to_be_imported_from_one(install_fake):
    install_fake("first-things", "first", API.format(package="first_things"))
    install_fake("second-things", "second", API.format(package="second_things"))
    with pytest.raises(mox.UnknownNameError) as caught:
        mox.Thing  # noqa: B018
    assert str(caught.value) == (
        "mox.Thing is offered by 2 plugins: first (first-things 1.0) and second (second-things 1.0).\n"
        "Import the one that is meant:\n"
        "from first_things.plugin import Thing\n"
        "from second_things.plugin import Thing"
    )


@pytest.mark.usefixtures("fresh_plugins")
@pytest.mark.parametrize("name", ["_private", "__wrapped__", "testing"])
def test_what_python_itself_looks_for_loads_no_plugin(install_fake, monkeypatch, name):
    install_fake("bad", "bad", "import not_there")
    monkeypatch.setenv("MOX_STRICT_PLUGINS", "1")  # a plugin that is loaded is an error
    monkeypatch.delattr(mox, name, raising=False)
    with pytest.raises(AttributeError) as caught:
        getattr(mox, name)
    assert str(caught.value) == f"module 'mox_core' has no attribute {name!r}"
