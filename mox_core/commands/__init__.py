"""The commands of the program `mox`, a module each, which `mox_core.cli` imports when the command is called."""
