"""What the model server says of its models: believed for a second, and for longer while it does not answer.

Runs on the event loop's thread: no locks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.serving.circuit_breaker import TROUBLE

FRESH_S = 1.0
STALE_S = 30.0
"""How long the last word is good for while there is no new one: calls find out by themselves what is gone."""
PATIENCE_S = 0.1
"""How long a caller waits for a new word while there is an old one."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Word(Generic[Value]):
    """An answer, and when it came."""

    at: float
    value: Value

    def younger_than(self, seconds: float) -> bool:
        return time.monotonic() - self.at <= seconds


@dataclass(frozen=True)
class Question(Generic[Value]):
    """Asked once, whoever waits for it."""

    asked_at: float
    task: "asyncio.Task[Value]"

    async def answered_soon(self) -> bool:
        """Whether the answer is there before anybody's patience ends."""
        patience_s = self.asked_at + PATIENCE_S - time.monotonic()
        if not self.task.done() and patience_s > 0:
            await asyncio.wait((self.task,), timeout=patience_s)
        return self.task.done()


class Questions(Generic[Value]):
    """Answers by key. What fails is not kept: the keys come from callers."""

    def __init__(self) -> None:
        self._words: dict[Hashable, Word[Value]] = {}
        self._open: dict[Hashable, Question[Value]] = {}

    def fresh(self, key: Hashable) -> Value | None:
        """The value of a second ago, if there is one; nobody is asked."""
        word = self._words.get(key)
        return word.value if word is not None and word.younger_than(FRESH_S) else None

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[Value]]) -> Value:
        """The value of a second ago, what asking says now, or the last word if the server does not answer.

        Raises:
            ServingFailed: with the server's code; one that it did not answer only if it never had.
        """
        if (known := self.fresh(key)) is not None:
            return known
        word = self._words.get(key)
        question = self._open.get(key) or self._ask(key, ask)
        if word is None or not word.younger_than(STALE_S):
            return await asyncio.shield(question.task)
        if not await question.answered_soon():
            return word.value
        try:
            return question.task.result()
        except ServingFailed as failure:
            if failure.code in TROUBLE:
                return word.value
            raise

    def _ask(self, key: Hashable, ask: Callable[[], Awaitable[Value]]) -> Question[Value]:
        async def asked() -> Value:
            return await ask()

        task = asyncio.get_running_loop().create_task(asked())
        task.add_done_callback(lambda done: self._answered(key, done))
        self._open[key] = question = Question(time.monotonic(), task)
        return question

    def _answered(self, key: Hashable, task: "asyncio.Task[Value]") -> None:
        del self._open[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._words = {kept: word for kept, word in self._words.items() if word.younger_than(STALE_S)}
        self._words[key] = Word(time.monotonic(), task.result())
