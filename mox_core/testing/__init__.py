"""The kit for plugin authors: fixtures that pytest finds by itself, and contracts to inherit.

    from mox_core.testing import PluginContract

    class TestMyPlugin(PluginContract):
        plugin_name = "my-plugin"

The fixtures `fresh_plugins` and `install_fake` need no import. pytest is imported here and nowhere else in mox.
"""

from __future__ import annotations

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mox_core.testing needs pytest: pip install pytest") from error

pytest.register_assert_rewrite("mox_core.testing.contracts")

from mox_core.testing.contracts import PluginContract  # noqa: E402  (its asserts are rewritten before)

__all__ = ["PluginContract"]
