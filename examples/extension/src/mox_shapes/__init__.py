"""An example of everything that a plugin can add to mox; `plugin.py` says what it offers."""
