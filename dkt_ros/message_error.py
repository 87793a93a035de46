"""What decoders raise."""

from __future__ import annotations


class MessageError(ValueError):
    """A message that cannot be used; its text names the topic, the value and the remedy.

    Attributes:
        reason: a few words without values, the same for every message with this fault: what drops are counted under.
    """

    def __init__(self, reason: str, topic: str, problem: str, remedy: str) -> None:
        super().__init__(f"{topic}: {problem}; {remedy}")
        self.reason = reason
