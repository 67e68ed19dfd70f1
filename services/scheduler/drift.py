"""Measures drift: histograms of recent inputs and outputs, compared with those of the version's evaluation.

Population stability index: the sum of (q - p) ln(q / p) over bins, with shares p of the reference and q of what is
seen; 0.1 is usually taken for a shift worth a check and 0.25 for one worth a new model (Siddiqi, Credit Risk
Scorecards, 2006). Chi-square: the usual test that both come from one distribution (scipy.stats.chi2_contingency); with
many predictions it finds irrelevant shifts, so triggers use the index.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import structlog
from PIL import Image

from modelyard.models.errors import CorruptData
from modelyard.models.inputs import name_encoded_image
from modelyard.models.registry.inputs import captured_input
from modelyard.models.registry.inputs.input_table import list_limit_kinds
from modelyard.models.registry.manifest import ImageLimits, Manifest, NamedLimits
from modelyard.models.registry.reference import Histogram, Reference, Shares, extract_features, read_reference
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.types import Array
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.feedback import CapturedPrediction
from modelyard.services.ledger.observations import Drift

log = structlog.get_logger()

NEWEST = 2000
"""Captured predictions that are compared."""
MIN_ANSWERS = 200
"""Captured predictions below which nothing is measured."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's names by channels."""
SMOOTHING = 0.5
"""Added to each bin, so that an empty one is no infinity."""


def check_drift(store: Store, ledger: Ledger) -> None:
    """Compares recent predictions of each model's stable version with its reference.

    Raises:
        StorageFailed: the ledger is away.
    """
    for model in store.models():
        try:
            measure_drift(store, ledger, model)
        except CorruptData as error:
            log.warning("drift not measured", model=model, cause=str(error))


def measure_drift(store: Store, ledger: Ledger, model: str) -> None:
    """Measures one model; nothing is written without a reference or enough predictions."""
    stable = read_rollout(store, model).stable
    known = read_reference(store.path(model, stable)) if stable else None
    if stable is None or known is None:
        return
    answers = ledger.feedback.list_newest_predictions(model, stable, NEWEST)
    found = measure_shifts(known, answers, store.manifest(model, stable))
    if found:
        shifts = {name: vars(shift) for name, shift in found.items()}
        ledger.observations.put_drift(Drift(model, stable, len(answers), shifts, datetime.now(UTC)))


@dataclass(frozen=True)
class Shift:
    """How far one histogram has moved."""

    psi: float
    p_value: float | None
    """Of chi-square; None where scipy is not installed."""
    seen: tuple[int, ...]
    """Counts in the bins of the reference."""


def measure_shifts(
    reference: Reference, answers: Sequence[CapturedPrediction], manifest: Manifest
) -> Mapping[str, Shift]:
    """By histogram; empty as long as there are too few answers."""
    if len(answers) < MIN_ANSWERS:
        return {}
    columns = collect_features(answers, manifest)
    return {
        name: measure_shift(histogram, count_values(histogram, columns[name]))
        for name, histogram in reference.series.items()
        if len(columns.get(name, ())) >= MIN_ANSWERS
    }


def count_values(series: Histogram | Shares, values: Sequence[Any]) -> tuple[int, ...]:
    """Numbers, or categories, as the reference counts them."""
    return series.count(values) if isinstance(series, Shares) else series.count(np.array(values))


def collect_features(answers: Iterable[CapturedPrediction], manifest: Manifest) -> dict[str, list[float | str]]:
    """Values by the name of their histogram."""
    found: dict[str, list[float | str]] = {}
    kinds = list_limit_kinds(manifest.input) if manifest.input else {}
    output_name = "answer value" if manifest.task == "regression" else "answer class"
    for answer in answers:
        found.setdefault(output_name, []).append(answer.predicted)
        if answer.score is not None:
            found.setdefault("answer score", []).append(answer.score)
        for name, value in extract_features(decode_input(answer, manifest), kinds).items():
            found.setdefault(f"input {name}", []).append(value)
    return found


def decode_input(answer: CapturedPrediction, manifest: Manifest) -> object:
    """The input as a dataset has it: a text, pixels, or numbers; several by name."""
    if answer.dtype == captured_input.DTYPE:
        return name_inputs(captured_input.decode_row(answer.content), manifest)
    if answer.dtype != "bytes":
        return np.frombuffer(answer.content, answer.dtype).reshape(answer.shape)
    limits = manifest.input
    return decode_file(answer.content, limits) if isinstance(limits, ImageLimits) else decode_text(answer.content)


def name_inputs(row: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    """A captured row by the names of inputs, of which a tensor may have another one: images as files."""
    limits = manifest.input.inputs if isinstance(manifest.input, NamedLimits) else {}
    found = {}
    for name, one in limits.items():
        value = row.get(name, row.get(name_encoded_image(name, limits)))
        if value is not None:
            found[name] = decode_file(value, one) if isinstance(value, bytes) and one.kind == "image" else value
    return found


def decode_file(content: bytes, limits: ImageLimits) -> Array:
    """Pixels of the size and channels that the model sees."""
    image = Image.open(io.BytesIO(content)).convert(MODES[limits.channels])
    return np.asarray(image.resize((limits.width, limits.height)))


def decode_text(content: bytes) -> str:
    return content.decode(errors="replace")


def measure_shift(reference: Histogram | Shares, seen: Sequence[int]) -> Shift:
    """Raises nothing: both have the same bins."""
    expected, found = (np.array(counts, float) for counts in (reference.counts, seen))
    p, q = ((counts + SMOOTHING) / (counts + SMOOTHING).sum() for counts in (expected, found))
    psi = float(((q - p) * np.log(q / p)).sum())
    return Shift(psi=psi, p_value=chi_square(expected, found), seen=tuple(map(int, seen)))


def chi_square(expected: Array, found: Array) -> float | None:
    """The p-value; bins that both leave empty say nothing."""
    try:
        from scipy.stats import chi2_contingency
    except ImportError:  # where nobody trains
        return None
    used = (expected + found) > 0
    if used.sum() < 2:  # noqa: PLR2004  # one bin holds everything
        return 1.0
    return float(chi2_contingency(np.stack([expected[used], found[used]])).pvalue)
