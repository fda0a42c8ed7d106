"""Numbers as the log shows them: the figures of the manual, and those that three decimals do not show."""

import numpy as np
import pytest

from mox_core.metric_text import metric_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (17737.2274, "17737.227"),
        (0.0669, "0.067"),
        (0.01, "0.010"),
        (-2.5, "-2.500"),
        (3.1123e-7, "3.11e-07"),
        (-0.00123, "-0.00123"),
        (0.005, "0.005"),
        (999999.0, "999999.000"),
        (2525491.25, "2.525e+06"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float32([0.5, 1e-5]), "[0.500 1e-05]"),
        (np.zeros([3, 4]), "<3 x 4>"),
    ],
)
def test_a_number_is_shown_so_that_it_can_be_told_from_others(value, text):
    assert metric_text(value) == text


def test_all_digits_are_shown_where_they_are_asked_for():
    assert metric_text(0.27084457268149165, whole=True) == "0.27084457268149165"
