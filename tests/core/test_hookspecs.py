import inspect

import pytest

from mox_core.plugins import hookspecs
from mox_core.plugins.hookspecs import OFFERS

SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("mox_")}


def test_the_table_of_offers_has_every_hook():
    assert list(OFFERS) == list(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_a_hook_takes_what_mox_gives_it_and_says_what_it_yields(name):
    signature = inspect.signature(SPECS[name])
    assert set(signature.parameters) <= set(hookspecs.ARGUMENTS)
    assert signature.return_annotation == f"Iterable[{OFFERS[name].__name__}]"


@pytest.mark.parametrize("name", SPECS)
def test_the_example_of_a_hook_runs_as_it_stands(name):
    example = inspect.cleandoc(SPECS[name].__doc__).partition("Example:\n")[2]
    namespace = {"hookimpl": hookspecs.hookimpl}
    exec("from mox_core.plugins import *\n" + inspect.cleandoc("\n" + example), namespace)  # noqa: S102
    (offer,) = namespace[name]()
    assert type(offer) is OFFERS[name]
