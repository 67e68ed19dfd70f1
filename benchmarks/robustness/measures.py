"""Which kinds of inputs a model is asked about, and in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.robustness.answers import Answers, Ask
from benchmarks.robustness.digits import DIGITS
from benchmarks.robustness.others import OTHERS
from benchmarks.robustness.rated import read_rated_suites
from benchmarks.robustness.report import Row, measure_known, measure_other
from benchmarks.robustness.texts import (
    TEXTS,
    WRITTEN,
    WRITTEN_FOR_CHOICES,
    Suite,
    make_other_suites,
    read_written_suites,
)
from modelyard.models.data import Split, Splits
from modelyard.models.types import Array

USUAL = "as in the data set"


@dataclass(frozen=True)
class Plan:
    """What to measure on."""

    split: str
    """``validation`` or ``test``."""
    count: int
    others: int
    kinds: frozenset[str]
    """Empty: all of them."""
    seed: int
    data_dir: Path
    rated: Path | None = None
    """Where short texts that people rated are, if there are some."""

    def wants(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds

    def choose(self, splits: Splits) -> Split:
        """The inputs, evenly spaced in the split: of a few hundred at random, a percent more or fewer are hard."""
        whole = splits.test if self.split == "test" else splits.validation
        if not self.count or self.count >= len(whole):
            return whole
        chosen = np.linspace(0, len(whole) - 1, self.count).astype(int)
        return Split(whole.x[chosen], whole.y[chosen])


def measure(model: str, asked: Sequence[Ask], plan: Plan) -> Iterator[list[Row]]:
    """The rows of each kind as soon as it is measured, one of each version: all are asked about the same inputs."""
    from modelyard.models.catalog import load_spec

    dataset = load_spec(model).dataset
    chosen = plan.choose(dataset.read(plan.data_dir))
    measure_kinds = _measure_pictures if dataset.name == "mnist" else _measure_texts
    yield from measure_kinds(asked, chosen, plan)


def _measure_pictures(asked: Sequence[Ask], chosen: Split, plan: Plan) -> Iterator[list[Row]]:
    usual: list[Answers] = []
    for kind in DIGITS:
        if plan.wants(kind.name) or kind.name == USUAL:
            answers = _ask_all(asked, kind.make(chosen.x, plan.seed))
            usual = answers if kind.name == USUAL else usual
            group = "made for" if kind.made_for else "beyond"
            yield [measure_known(kind.name, kind.summary, group, each, chosen.y) for each in answers]
    for other in OTHERS:
        if plan.wants(other.name):
            answers = _ask_all(asked, other.make(plan.others, chosen.x, plan.seed))
            yield [
                measure_other(other.name, other.summary, each, known)
                for each, known in zip(answers, usual, strict=True)
            ]


def _measure_texts(asked: Sequence[Ask], chosen: Split, plan: Plan) -> Iterator[list[Row]]:
    usual: list[Answers] = []
    classes: Array = chosen.y.reshape(-1).astype(int)
    for kind in TEXTS:
        if plan.wants(kind.name) or kind.name == USUAL:
            suite = kind.make(list(chosen.x), classes.tolist(), plan.seed)
            answers = _ask_all(asked, suite.texts)
            usual = answers if kind.name == USUAL else usual
            yield [measure_known(suite.name, suite.summary, "made for", each, classes) for each in answers]
    for suite in list_suites(plan):
        if plan.wants(suite.name):
            answers = _ask_all(asked, suite.texts)
            yield [_measure_suite(suite, each, known) for each, known in zip(answers, usual, strict=True)]


def _ask_all(asked: Sequence[Ask], inputs: Sequence[Any]) -> list[Answers]:
    return [ask(inputs) for ask in asked]


def _measure_suite(suite: Suite, answers: Answers, usual: Answers) -> Row:
    if suite.classes is None:
        return measure_other(suite.name, suite.summary, answers, usual)
    group = "made for" if suite.made_for else "beyond"
    truth: Array = np.asarray(suite.classes)
    return measure_known(suite.name, suite.summary, group, answers, truth)


def list_suites(plan: Plan) -> Sequence[Suite]:
    """Those written for it, some of them for choices alone; those that people rated; and those that say nothing."""
    written = read_written_suites(WRITTEN if plan.split == "test" else WRITTEN_FOR_CHOICES)
    rated = read_rated_suites(plan.rated) if plan.rated else ()
    return (*written, *rated, *make_other_suites(plan.others, plan.seed))
