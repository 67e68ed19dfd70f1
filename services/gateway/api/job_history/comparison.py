"""Several jobs beside each other: only what differs, the best and the last of each metric, and bands over seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from modelyard.models.metrics import METRICS
from modelyard.services.gateway.api.job_history.curves import JobCurves, MetricCurve, Values
from modelyard.services.gateway.api.job_history.recipes import JobRecipe
from modelyard.services.gateway.api.jobs import JobResponse
from modelyard.services.gateway.api.versions.evaluations import EvaluationRecord
from modelyard.services.gateway.http.json_body import Body

LOWER = {name for known in METRICS.values() for name, better in known.items() if better == "lower"}
DATA = ("name", "source", "fingerprint", "train", "validation", "test", "feedback")
"""What is compared of the data that jobs were trained on."""
SEED = "seed"
NOT_TRAINING = frozenset({SEED, "rollout", "priority", "budget_s"})
"""Values that two trainings with other seeds may differ in."""
MIN_SEEDS = 2

Split = Literal["training", "validation", "test"]


class ValueDifference(Body):
    """One value that is not the same in all jobs; null where a job has none."""

    key: str
    values: list[Any]


class MetricValue(Body):
    """Best and last value of a job's curve; of the test split, which is measured once, the same."""

    best: float
    epoch: int | None
    last: float


class MetricRow(Body):
    """One metric of all jobs. ``best`` is the place of the best job in the list; null where all are as good."""

    name: str
    split: Split
    better: Literal["lower", "higher"]
    values: list[MetricValue | None]
    best: int | None


class SeedBand(Body):
    """By epoch, over the jobs that trained it: mean, least and greatest."""

    mean: Values
    low: Values
    high: Values


class SeedGroup(Body):
    """Jobs whose trainings differ in nothing but the seed."""

    jobs: list[str]
    epochs: list[int]
    metrics: dict[str, dict[Literal["training", "validation"], SeedBand]]


class PerClass(Body):
    """Metrics by class on the test split: for each metric and label, a value for each job."""

    labels: list[str]
    metrics: dict[str, list[list[float | None]]]


class JobComparison(Body):
    """All lists of values are in the order of ``jobs``."""

    jobs: list[JobResponse]
    recipe: list[ValueDifference]
    same: int
    """Values of the recipes that are the same in all jobs, and are left out."""
    data: list[ValueDifference]
    metrics: list[MetricRow]
    seeds: list[SeedGroup]
    per_class: PerClass | None
    curves: list[JobCurves]


def compare(
    jobs: Sequence[JobResponse],
    recipes: Sequence[JobRecipe],
    curves: Sequence[JobCurves],
    evaluations: Sequence[EvaluationRecord | None],
) -> JobComparison:
    """Each sequence has one entry for each job."""
    values = [_list_values(job, recipe) for job, recipe in zip(jobs, recipes, strict=True)]
    keys = list(dict.fromkeys(key for each in values for key in each))
    differing = [key for key in keys if len({str(each.get(key)) for each in values}) > 1]
    data = [job.result.get("data") or {} for job in jobs]
    return JobComparison.model_construct(
        jobs=list(jobs),
        recipe=[ValueDifference(key=key, values=[each.get(key) for each in values]) for key in differing],
        same=len(keys) - len(differing),
        data=[
            ValueDifference(key=key, values=[each.get(key) for each in data])
            for key in DATA
            if len({str(each[key]) for each in data if key in each}) > 1  # of a rejected job it is not known
        ],
        metrics=[*_compare_curves(curves), *_compare_tests(jobs)],
        seeds=list(_group_seeds(jobs, values, curves)),
        per_class=_compare_classes(evaluations),
        curves=list(curves),
    )


def _list_values(job: JobResponse, recipe: JobRecipe) -> dict[str, Any]:
    own = {"model": job.model, "recipe": job.recipe}
    return own | {value.key: value.value for value in (*recipe.values, *recipe.options)}


def find_direction(name: str) -> Literal["lower", "higher"]:
    """Whether less or more of a metric is better, by its name."""
    return "lower" if name in LOWER or name.endswith(("loss", "error")) else "higher"


def _compare_curves(curves: Sequence[JobCurves]) -> Iterator[MetricRow]:
    for name in _list_names(curves):
        for split in ("validation", "training"):
            values = [_summarise(each, name, split) for each in curves]
            if any(values):
                yield _make_row(name, split, values)


def _list_names(curves: Sequence[JobCurves]) -> list[str]:
    return sorted({name for each in curves for name in each.metrics}, key=lambda name: (name != "loss", name))


def _summarise(curves: JobCurves, name: str, split: Split) -> MetricValue | None:
    found = curves.metrics.get(name)
    pairs = zip(curves.epochs, getattr(found, split), strict=True) if found else ()
    known = [(epoch, value) for epoch, value in pairs if value is not None]
    if not known:
        return None
    choose: Callable[..., tuple[int, float]] = min if find_direction(name) == "lower" else max
    epoch, best = choose(known, key=lambda pair: pair[1])
    return MetricValue(best=best, epoch=epoch, last=known[-1][1])


def _compare_tests(jobs: Sequence[JobResponse]) -> Iterator[MetricRow]:
    tested = [job.metrics if job.result.get("verdict") else {} for job in jobs]
    for name in dict.fromkeys(name for each in tested for name in each):
        values = [each.get(name) for each in tested]
        yield _make_row(
            name,
            "test",
            [None if value is None else MetricValue(best=value, epoch=None, last=value) for value in values],
        )


def _make_row(name: str, split: Split, values: Sequence[MetricValue | None]) -> MetricRow:
    known = [(value.best, place) for place, value in enumerate(values) if value]
    better = find_direction(name)
    best = min(known) if better == "lower" else max(known, key=lambda pair: pair[0])
    equal = len({value for value, _ in known}) == 1
    return MetricRow(name=name, split=split, better=better, values=list(values), best=None if equal else best[1])


def _group_seeds(
    jobs: Sequence[JobResponse], values: Sequence[Mapping[str, Any]], curves: Sequence[JobCurves]
) -> Iterator[SeedGroup]:
    groups: dict[str, list[int]] = {}
    for place, each in enumerate(values):
        rest = sorted((key, str(value)) for key, value in each.items() if key not in NOT_TRAINING)
        groups.setdefault(str(rest), []).append(place)
    for places in groups.values():
        if len({str(values[place].get(SEED)) for place in places}) >= MIN_SEEDS:
            yield _make_group([jobs[place].id for place in places], [curves[place] for place in places])


def _make_group(ids: list[str], curves: Sequence[JobCurves]) -> SeedGroup:
    epochs = sorted({epoch for each in curves for epoch in each.epochs})
    return SeedGroup(
        jobs=ids,
        epochs=epochs,
        metrics={
            name: {
                "training": _make_band(epochs, curves, name, lambda curve: curve.training),
                "validation": _make_band(epochs, curves, name, lambda curve: curve.validation),
            }
            for name in _list_names(curves)
        },
    )


def _make_band(
    epochs: Sequence[int], curves: Sequence[JobCurves], name: str, choose: Callable[[MetricCurve], Values]
) -> SeedBand:
    tables = [
        dict(zip(each.epochs, choose(each.metrics[name]), strict=True)) for each in curves if name in each.metrics
    ]
    columns = [[value for table in tables if (value := table.get(epoch)) is not None] for epoch in epochs]
    return SeedBand(
        mean=[sum(column) / len(column) if column else None for column in columns],
        low=[min(column, default=None) for column in columns],
        high=[max(column, default=None) for column in columns],
    )


def _compare_classes(evaluations: Sequence[EvaluationRecord | None]) -> PerClass | None:
    found = [each.per_class if each else {} for each in evaluations]
    labels = list(dict.fromkeys(label for each in found for label in each))
    names = list(dict.fromkeys(name for each in found for label in each for name in each[label] if name != "support"))
    if not labels:
        return None
    return PerClass(
        labels=labels,
        metrics={name: [[each.get(label, {}).get(name) for each in found] for label in labels] for name in names},
    )
