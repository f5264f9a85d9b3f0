"""What waits to be sent to one page: every message, and of pictures of the moment the newest alone."""

import asyncio
from collections import deque
from typing import Any


class Outbox:
    """A queue for one page, which a slow connection does not make long."""

    def __init__(self) -> None:
        self._messages: deque[dict[str, Any]] = deque()
        self._picture: dict[str, Any] | None = None
        self._ready = asyncio.Event()

    def put(self, message: dict[str, Any]) -> None:
        """Adds a message that must arrive."""
        self._messages.append(message)
        self._ready.set()

    def show(self, picture: dict[str, Any]) -> None:
        """Replaces the picture that has not been sent yet."""
        self._picture = picture
        self._ready.set()

    async def next(self) -> dict[str, Any]:
        """The next one to send, once there is one."""
        while True:
            if self._messages:
                return self._messages.popleft()
            picture, self._picture = self._picture, None
            if picture is not None:
                return picture
            self._ready.clear()
            await self._ready.wait()
