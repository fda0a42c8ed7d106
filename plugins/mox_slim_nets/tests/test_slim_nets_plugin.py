from mox_core import cli
from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "slim-nets"


def test_the_page_of_a_network_is_for_those_who_ask_for_it_by_name(capsys):
    assert cli.main(["show", "network", "lenet"]) == 0
    out = capsys.readouterr().out
    assert "  its options             preprocess_fn, dropout_keep_prob=0.5\n" in out
    assert "  Return the function that builds the network on a batch of images." in out
    assert "      weight_decay: factor of the L2 loss" in out
    assert "layer_end_points" not in out
