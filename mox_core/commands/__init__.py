"""The commands of the program `mox`, one module each; `mox_core.cli` imports a module when its command is called."""
