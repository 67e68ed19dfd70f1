"""A canary: its share of the requests, who decides about it, and the steps in which its share grows. Slim."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, computed_field, model_validator

from modelyard.models.registry.manifest import FrozenModel

Judge = Literal["full", "abort-only", "off"]
"""What canary analysis may do: promote the canary and end it, only end it, or neither."""
Percent = Annotated[float, Field(ge=0, le=100)]
Enough = Annotated[int, Field(ge=1)]


class Step(FrozenModel):
    """A share of the requests, and after how many answers without evidence against it the next one follows."""

    percent: Annotated[float, Field(gt=0, le=100)]
    enough: Enough


class Canary(FrozenModel):
    """A version that gets ``percent`` of the unpinned requests."""

    version: int
    percent: Percent
    since: datetime
    """When it started; observations since then count."""
    judge: Judge = "full"
    enough: Enough = 10_000
    """Answers after which canary analysis promotes it if it finds no objection; of a step, its own number."""
    steps: tuple[Step, ...] = ()
    """Shares that it gets one after the other, ascending; empty where its share stays."""

    @model_validator(mode="before")
    @classmethod
    def _read_judged(cls, given: Any) -> Any:
        """Files and requests of before 0.4 say ``judged``, true or false."""
        if not isinstance(given, Mapping) or "judged" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "judged"}
        return {"judge": "full" if given["judged"] else "off", **rest}

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def judged(self) -> bool:
        """Whether canary analysis decides anything about it."""
        return self.judge != "off"

    def restart(self) -> "Canary":
        """The same canary, started now."""
        return self.model_copy(update={"since": datetime.now(UTC)})

    @property
    def step(self) -> int:
        """How many of its steps have begun."""
        return sum(step.percent <= self.percent for step in self.steps)

    @property
    def next_step(self) -> Step | None:
        """The step that follows; None after the last one, and without steps."""
        return next((step for step in self.steps if step.percent > self.percent), None)

    @property
    def needed(self) -> int:
        """Answers without evidence against it, at its present share, after which more is decided."""
        return next((step.enough for step in self.steps if step.percent == self.percent), self.enough)

    @property
    def plan(self) -> dict[str, Any]:
        """What the history says of how it is judged, where that is not the usual."""
        judge = {} if self.judge == "full" else {"judge": self.judge}
        return judge | ({"steps": [step.model_dump() for step in self.steps]} if self.steps else {})
