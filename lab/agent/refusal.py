"""The one way in which the agent says no. Rule: a refusal is a status and one sentence that a student can act on."""

from __future__ import annotations


class Refusal(Exception):
    """A wrong request (4xx), or one that the lab couldn't fulfil (5xx). Its text is the sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
