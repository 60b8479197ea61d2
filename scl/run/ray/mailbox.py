"""An actor between the driver and its workers. It imports little, and opens no letter, so that it stays small."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Mailbox:
    """The next cohort of each slot, and which trials of a search should stop."""

    def __init__(self) -> None:
        self.boxes: defaultdict[str, asyncio.Queue[bytes | None]] = defaultdict(asyncio.Queue)
        self.stops: set[str] = set()

    async def put(self, slot: str, letter: bytes | None) -> None:
        """Hand a cohort to a slot; None ends the slot."""
        self.boxes[slot].put_nowait(letter)

    async def take(self, slot: str) -> bytes | None:
        """What was put there, as soon as it is."""
        letter = await self.boxes[slot].get()
        if letter is None:
            del self.boxes[slot]
        return letter

    async def stop(self, job_id: str) -> None:
        self.stops.add(job_id)

    async def stopped(self, job_id: str) -> bool:
        return job_id in self.stops
