"""What holds before anything heavy is imported: tests share bytecode, whatever the environment says of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    # As in many containers. The suite starts about a hundred Python processes, and each of them would compile PyTorch
    # and pandas anew, for 3 s. So bytecode is kept, but apart from the code.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parent / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
