"""The optimizers and wrappers keep to the contracts of the kit."""

from mox_core.testing import OptimizerContract, OptimizerWrapperContract


class TestAdadelta(OptimizerContract):
    optimizer = "adadelta"
    options = {"learning_rate": 1.0, "rho": 0.9}
    bad_options = {"learning_rate": "fast"}


class TestAdagrad(OptimizerContract):
    optimizer = "adagrad"
    bad_options = {"learning_rate": "fast"}


class TestAdam(OptimizerContract):
    optimizer = "adam"
    bad_options = {"learning_rate": "fast"}


class TestFtrl(OptimizerContract):
    optimizer = "ftrl"
    bad_options = {"learning_rate": "fast"}


class TestMomentum(OptimizerContract):
    optimizer = "momentum"
    options = {"learning_rate": 0.05, "momentum": 0.9, "use_nesterov": True}
    bad_options = {"learning_rate": "fast"}


class TestRmsprop(OptimizerContract):
    optimizer = "rmsprop"
    options = {"learning_rate": 0.05, "momentum": 0.5, "centered": True}
    bad_options = {"learning_rate": "fast"}


class TestSgd(OptimizerContract):
    optimizer = "sgd"
    bad_options = {"learning_rate": "fast"}


class TestBatchGradients(OptimizerWrapperContract):
    wrapper = "batch_gradients"
    options = {"num_batches": 3}  # half of 20 steps is in the middle of a period
    bad_options = {"num_batches": 0, "sync_on_apply": "yes"}


class TestRateMultipliers(OptimizerWrapperContract):
    wrapper = "rate_multipliers"
    options = {"multipliers": {".": 0.5}}
    bad_options = {"multipliers": {".": 0.0}}


class TestEasgd(OptimizerWrapperContract):
    wrapper = "easgd"
    options = {"moving_rate": 0.3, "communication_period": 4}
    bad_options = {"moving_rate": 1.0, "communication_period": 0}
