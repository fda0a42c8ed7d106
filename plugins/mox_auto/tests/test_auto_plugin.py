"""mox-auto as a plugin."""

import inspect

import mox_core as mox
from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "auto"


def test_search_has_the_arguments_of_moxing_in_their_order():
    assert " ".join(inspect.signature(mox.auto.search).parameters) == (
        "input_fn model_fn optimizer_fn batch_size auto_batch total_steps evaluation_total_steps model_size by_acc "
        "checkpoint_path select_by_eval weight_decay_diff_thres max_thres window warmup_steps warmup_lr "
        "evaluate_every_n_steps log_every_n_steps init_learning_rate end_learning_rate acc_name loss_name "
        "search_learning_rate param_spec param_list_spec"
    )
