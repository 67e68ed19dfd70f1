"""Golden inputs and outputs of a model that was trained elsewhere: what it answers here."""

import base64
from collections.abc import Mapping

import numpy as np

from modelyard.models.images.png import encode_png
from modelyard.models.registry.manifest import SignatureSpec
from modelyard.models.types import Array
from modelyard.pipeline import golden
from modelyard.pipeline.errors import ImportRefused
from modelyard.pipeline.golden import input_key, max_difference, output_key
from modelyard.pipeline.stages.imported.examples import Examples
from modelyard.pipeline.stages.imported.loaded import CallFailed
from modelyard.pipeline.stages.imported.rows import Call
from modelyard.pipeline.stages.imported.sample_inputs import choose_rows_of, generate_inputs


def answer_all(
    calls: Mapping[str, Call], signatures: Mapping[str, SignatureSpec], chosen: str, test: Examples | None
) -> tuple[dict[str, Array], dict[str, str]]:
    """Golden inputs and outputs of all signatures, and why some have none.

    Raises:
        ImportRefused: the one to measure has none.
    """
    answers: dict[str, Array] = {}
    unanswered = {}
    for name, spec in signatures.items():
        fits_test = test is not None and spec.inputs == signatures[chosen].inputs
        try:
            inputs, outputs = find_answers(calls[name], spec, test if fits_test else None)
        except ImportRefused as error:
            if name == chosen:
                raise ImportRefused(f"signature {name}: {error}") from error
            unanswered[name] = f"signature {name} is left out: {error}"
            continue
        answers |= {input_key(name, tensor): values for tensor, values in inputs.items()}
        answers |= {output_key(name, tensor): values for tensor, values in outputs.items()}
    return answers, unanswered


def find_answers(
    call: Call, spec: SignatureSpec, test: Examples | None
) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """Inputs that the model takes, and what it answers.

    Raises:
        ImportRefused: it takes none, or answers other numbers each time, or none that are finite.
    """
    given = [choose_rows_of(test.inputs)] if test else generate_inputs(spec, encode_png(np.zeros((32, 32, 3))))
    cause = ""
    for inputs in given:
        try:
            outputs, again = call(inputs), call(inputs)
        except CallFailed as error:
            cause = cause or str(error)
            continue
        if not all(np.isfinite(values).all() for values in outputs.values() if values.dtype.kind == "f"):
            cause = cause or "it answers with numbers that are not finite"
            continue
        worst = max((max_difference(again[name], values) for name, values in outputs.items()), default=0.0)
        if not worst <= golden.TOLERANCE:
            raise ImportRefused(f"its answers to the same inputs differ by {worst:.2g} from call to call")
        return inputs, outputs
    tried = "it does not take the test data" if test else "it takes none of the inputs made for it; give --test"
    raise ImportRefused(f"{tried}: {cause}")


def make_example(inputs: Mapping[str, Array]) -> object:
    """One instance as it stands in a ``:predict`` body: a value, or an object of several."""
    values = {name: to_json_value(array[0]) for name, array in inputs.items()}
    return values if len(values) > 1 else next(iter(values.values()))


def to_json_value(value: object) -> object:
    """Numbers as they are, texts, and other bytes in base64."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    if not isinstance(value, np.ndarray):
        return value.item() if isinstance(value, np.generic) else value
    return [to_json_value(each) for each in value] if value.dtype == object else value.tolist()
