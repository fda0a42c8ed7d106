"""What mox-optimizers offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, OptimizerOffer, OptimizerWrapperOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


@hookimpl
def mox_optimizers() -> Iterable[OptimizerOffer]:
    """Yield the optimizers of `tf.compat.v1.train` under MoXing's names."""
    for name, summary in (
        ("adadelta", "Adadelta (Zeiler 2012, arXiv 1212.5701); rho, epsilon"),
        ("adagrad", "Adagrad (Duchi et al. 2011); initial_accumulator_value"),
        ("adam", "Adam (Kingma and Ba 2014, arXiv 1412.6980); beta1, beta2, epsilon"),
        ("ftrl", "FTRL-Proximal (McMahan et al. 2013); learning_rate_power, initial_accumulator_value, l1, l2, beta"),
        ("momentum", "SGD with momentum (Sutskever et al. 2013); momentum, use_nesterov"),
        ("rmsprop", "RMSProp (Tieleman and Hinton 2012); decay, momentum, epsilon, centered"),
        ("sgd", "stochastic gradient descent"),
    ):
        yield OptimizerOffer(name=name, target=f"mox_optimizers.optimizers:{name}", summary=summary)


@hookimpl
def mox_optimizer_wrappers() -> Iterable[OptimizerWrapperOffer]:
    """Yield the wrappers that TensorFlow has no optimizer for."""
    yield OptimizerWrapperOffer(
        name="batch_gradients",
        target="mox_optimizers.batch_gradients:batch_gradients",
        summary="applies the mean gradient of num_batches steps at once; num_batches, sync_on_apply",
    )
    yield OptimizerWrapperOffer(
        name="easgd",
        target="mox_optimizers.easgd:easgd",
        summary="elastic averaging (Zhang et al. 2015, arXiv 1412.6651); moving_rate, communication_period",
    )
    yield OptimizerWrapperOffer(
        name="rate_multipliers",
        target="mox_optimizers.rate_multipliers:rate_multipliers",
        summary="other learning rates for variables by patterns of their names; multipliers",
    )


@hookimpl
def mox_api() -> Iterable[ApiOffer]:
    """Yield the module of learning rates, and the optimizers of MoXing that are classes."""
    yield ApiOffer(
        name="learning_rate_scheduler",
        target="mox_optimizers:learning_rate_scheduler",
        summary="piecewise_lr, linear_cosine_decay, polynomial_decay",
    )
    yield ApiOffer(
        name="DyMomentumOptimizer",
        target="mox_optimizers.dynamic_momentum:DyMomentumOptimizer",
        summary="SGD whose momentum moves against its learning rate; optionally in LARS",
    )
    yield ApiOffer(
        name="DyMomentumWOptimizer",
        target="mox_optimizers.dynamic_momentum:DyMomentumWOptimizer",
        summary="the same with decoupled weight decay (Loshchilov, Hutter 2019, arXiv 1711.05101)",
    )
    yield ApiOffer(
        name="SimpleSyncOptimizer",
        target="mox_optimizers.simple_sync_optimizer:SimpleSyncOptimizer",
        summary="averages the gradients of workers that step on their own, in each step",
    )
