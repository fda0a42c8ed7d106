"""The optimizers and wrappers keep to the contracts of the kit."""

from mox_core.testing import OptimizerContract, OptimizerWrapperContract


class TestAdadelta(OptimizerContract):
    optimizer = "adadelta"
    options = {"learning_rate": 1.0, "rho": 0.9}


class TestAdagrad(OptimizerContract):
    optimizer = "adagrad"


class TestAdam(OptimizerContract):
    optimizer = "adam"


class TestFtrl(OptimizerContract):
    optimizer = "ftrl"


class TestMomentum(OptimizerContract):
    optimizer = "momentum"
    options = {"learning_rate": 0.05, "momentum": 0.9, "use_nesterov": True}


class TestRmsprop(OptimizerContract):
    optimizer = "rmsprop"
    options = {"learning_rate": 0.05, "momentum": 0.5, "centered": True}


class TestSgd(OptimizerContract):
    optimizer = "sgd"


class TestBatchGradients(OptimizerWrapperContract):
    wrapper = "batch_gradients"
    options = {"num_batches": 3}  # half of 20 steps is in the middle of a period
    bad_options = {"num_batches": 0, "sync_on_apply": "yes"}


class TestEasgd(OptimizerWrapperContract):
    wrapper = "easgd"
    options = {"moving_rate": 0.3, "communication_period": 4}
    bad_options = {"moving_rate": 1.0, "communication_period": 0}
