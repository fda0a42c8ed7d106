"""Whole numbers: Python's and NumPy's, from a least one on."""

import numpy as np
import pytest

from mox_core.whole_numbers import is_whole_number


@pytest.mark.parametrize("value", [2, 10**30, np.int64(2), np.uint8(2)])
def test_integers_of_python_and_numpy_are_whole_numbers(value):
    assert is_whole_number(value, least=2)


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float32(3), "3", None, np.array([3])])
def test_other_values_are_none(value):
    assert not is_whole_number(value, least=0)


@pytest.mark.parametrize("value", [-2, np.int64(-2)])
def test_a_number_below_the_least_is_none(value):
    assert not is_whole_number(value, least=-1)
    assert is_whole_number(value, least=-2)
