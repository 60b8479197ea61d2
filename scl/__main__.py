"""`python -m scl`: the command `scl` where its script is not on the path."""

import sys

from scl.command import main

sys.exit(main())
