"""`python -m scl` is the command `scl`."""

import sys

from scl.cli.command import main

sys.exit(main())
