"""The wrapper keeps to the contract of the kit."""

from mox_core.testing import OptimizerWrapperContract


class TestLars(OptimizerWrapperContract):
    wrapper = "lars"
    bad_options = {"ratio": 0, "weight_decay": -0.1, "exclude_patterns": ["("]}
