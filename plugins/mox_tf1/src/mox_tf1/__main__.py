"""`python -m mox_tf1`: the command `mox tf1`."""

import sys

from mox_tf1.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
