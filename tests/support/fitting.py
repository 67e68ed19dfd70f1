"""Trainings by the stage of jobs, without a job."""

from dataclasses import replace
from pathlib import Path

from modelyard.models.catalog import load_spec
from modelyard.models.data import Splits
from modelyard.models.recipes import Recipe
from modelyard.models.spec import ModelSpec
from modelyard.models.text.review_data import SentimentRecipe
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.fitting.warm_start import StartVersion
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import TrainedModel
from modelyard.pipeline.stages.train import train
from tests.support.reviews import make_splits

REVIEWS = load_spec("sentiment_lstm")
TINY = SentimentRecipe(
    vocabulary_size=200, vector_size=8, filters=8, units=4, short_units=4, max_tokens=32, min_steps=1
)
REVIEWS_RECIPE = replace(
    TINY, epochs=3, batch_size=16, learning_rate=0.02, ngram_share=0.1, teacher_share=0.3, soft_labels=20
)


def ignore(_: Progress) -> None:
    """A report that nobody reads."""


def fit(
    spec: ModelSpec,
    splits: Splits,
    recipe: Recipe,
    work: Path,
    start: StartVersion | None = None,
    report: Report = ignore,
) -> TrainedModel:
    work.mkdir(exist_ok=True)
    return train(spec, splits, recipe, prepare_devices(recipe), work, work / "checkpoints", report, start)


def fit_reviews(work: Path) -> TrainedModel:
    """The reviews' model after 42 steps."""
    return fit(REVIEWS, make_splits(), REVIEWS_RECIPE, work)
