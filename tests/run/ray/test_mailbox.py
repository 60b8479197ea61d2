"""What the driver puts into the mailbox, and workers take out of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from scl.run.ray.mailbox import Mailbox


def test_a_mailbox_hands_over_what_it_is_given_and_says_who_should_stop() -> None:
    async def conversation() -> list[Any]:
        box = Mailbox()
        waiting = asyncio.create_task(box.take("one"))
        await asyncio.sleep(0)
        for slot, handed in (("two", b"b"), ("one", b"a"), ("two", None)):
            await box.put(slot, handed)
        found: list[Any] = [await waiting, await box.take("two"), await box.take("two"), list(box.boxes)]
        await box.stop("x")
        return [*found, await box.stopped("x"), await box.stopped("y")]

    assert asyncio.run(conversation()) == [b"a", b"b", None, ["one"], True, False]


def test_its_process_imports_no_heavy_library() -> None:
    """It would take 700 MB more, and seconds to start."""
    script = "import sys, scl.run.ray.mailbox; print({'torch', 'pandas', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
