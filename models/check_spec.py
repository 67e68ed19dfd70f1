"""Judges a resolved spec before anything is trained: whether its parts fit together."""

import inspect
import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, get_args

from modelyard.models.errors import CorruptData, InvalidRecipe, InvalidSpec
from modelyard.models.inputs import ImageInput, TextInput, name_inputs
from modelyard.models.metrics import METRICS, list_metrics
from modelyard.models.recipes import Recipe
from modelyard.models.registry.cards.model_card import read_measured
from modelyard.models.spec import Card, Gate, ModelSpec
from modelyard.models.types import POOL_PATTERN, Direction, OnAtypical

FUNCTIONS: Mapping[str, int] = {
    "prepare": 2,
    "build": 2,
    "encode": 1,
    "baseline": 1,
    "prepare_with_state": 3,
    "fit": 1,
    "evaluate": 2,
    "signatures": 2,
}
"""Number of arguments that each function of a spec is called with."""
WITHOUT_SIMPLEST = ("ece",)
"""Metrics of a task that the simplest answer says nothing about."""
CARD_LISTS = ("made_for", "not_made_for", "limits")
"""Fields of a card that hold several texts."""


def check_spec(spec: ModelSpec) -> None:
    """Checks a spec that ``resolve`` has completed. Looks at no data and builds no model.

    Raises:
        InvalidSpec: names each field that is wrong, and what was expected.
    """
    problems = [
        *check_functions(spec),
        *check_inputs(spec),
        *check_labels(spec),
        *check_metrics(spec),
        *check_gate(spec.gate, list_metrics(spec.task, spec.metrics), own=spec.metrics),
        *check_steps(spec),
        *check_uncertainty(spec),
        *check_recipes(spec.recipes),
        *check_search(spec),
        *check_card(spec),
        *check_pool(spec),
    ]
    if problems:
        raise InvalidSpec(f"{spec.name}: {'; '.join(problems)}")


def check_pool(spec: ModelSpec) -> Iterator[str]:
    """Whether a pool could have the name; whether there is one, only an installation can tell."""
    if spec.pool and not (isinstance(spec.pool, str) and re.fullmatch(POOL_PATTERN, spec.pool)):
        yield f"pool: expected a name of lower-case letters, digits and hyphens, received {spec.pool!r}"


def check_functions(spec: ModelSpec) -> Iterator[str]:
    for name, count in FUNCTIONS.items():
        function = getattr(spec, name)
        if function is not None and not accepts(function, count):
            yield f"{name}: expected a function of {count} arguments, received {describe_function(function)}"


def accepts(function: Any, count: int) -> bool:
    """Whether a value can be called with so many positional arguments."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a built-in function that does not say
        return True
    return True


def describe_function(function: Any) -> str:
    if not callable(function):
        return repr(function)[:80]
    return f"{getattr(function, '__name__', type(function).__name__)}{inspect.signature(function)}"


def check_inputs(spec: ModelSpec) -> Iterator[str]:
    yield from check_drawings(spec)
    if not isinstance(spec.input, Mapping):
        if spec.encode and isinstance(spec.input, TextInput) and spec.input.vectorise:
            yield "encode: the text input has vectorise, which does the same; give one of them"
        return
    if not spec.input:
        yield "input: expected at least one input, received none"
    for name in spec.input:
        if not name.isidentifier() or keyword.iskeyword(name):
            yield f"input: expected names that are identifiers, received {name!r}"


def check_drawings(spec: ModelSpec) -> Iterator[str]:
    """Of images of drawn strokes."""
    for name, kind in name_inputs(spec.input).items():
        if not isinstance(kind, ImageInput) or kind.ink is None:
            continue
        if kind.channels != 1:
            yield f"{name}: ink is for images of one channel, received {kind.channels}"
        if not 1 <= kind.ink.size <= min(kind.height, kind.width):
            yield f"{name}: expected ink of 1 to {min(kind.height, kind.width)} pixels, received {kind.ink.size}"


def check_labels(spec: ModelSpec) -> Iterator[str]:
    """Of labels that are known already: those of the data may come with the data."""
    count, twice = len(spec.labels), [label for label in set(spec.labels) if spec.labels.count(label) > 1]
    if twice:
        yield f"labels: {min(twice)!r} is there twice"
    if spec.task == "binary" and count not in (0, 2):
        yield f"labels: expected two for a binary task, no first, received {count}"
    if spec.task == "multiclass" and count == 1:
        yield "labels: expected at least two, received one"


def check_metrics(spec: ModelSpec) -> Iterator[str]:
    if bool(spec.evaluate) != bool(spec.metrics):
        given, missing = ("evaluate", "metrics") if spec.evaluate else ("metrics", "evaluate")
        yield f"{missing} is missing: {given} is given, and they belong together"
    for name, direction in spec.metrics.items():
        if direction not in ("higher", "lower"):
            yield f"metrics: {name}: expected higher or lower, received {direction!r}"
        if name in METRICS[spec.task]:
            yield f"metrics: {name} is measured for every {spec.task} model; choose another name"


def check_gate(gate: Gate, known: Mapping[str, Direction], own: Mapping[str, Direction]) -> Iterator[str]:
    """Whether the gate's metric exists, and its limits are on the right side."""
    if gate.metric not in known:
        close = get_close_matches(gate.metric, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known) or 'none'}"
        yield f"gate: unknown metric {gate.metric!r}; {hint}"
        return
    floors, ceilings = (gate.floor, gate.sample_floor), (gate.ceiling, gate.sample_ceiling)
    lower = known[gate.metric] == "lower"
    if any(value is not None for value in (floors if lower else ceilings)):
        right, wrong = ("ceiling", "floor") if lower else ("floor", "ceiling")
        yield f"gate: {'less' if lower else 'more'} of {gate.metric} is better: give it a {right}, not a {wrong}"
    elif (gate.ceiling if lower else gate.floor) is None and gate.metric in (*own, *WITHOUT_SIMPLEST):
        yield f"gate: {gate.metric} needs a {'ceiling' if lower else 'floor'}"
    if gate.max_ece is not None and ("ece" not in known or gate.max_ece <= 0):
        yield f"gate: max_ece: expected a number above 0, of a model with classes, received {gate.max_ece:g}"
    if gate.max_drop < 0:
        yield f"gate: max_drop: expected at least 0, received {gate.max_drop:g}"


def check_steps(spec: ModelSpec) -> Iterator[str]:
    """What a task needs beside the defaults."""
    if spec.task in ("text", "custom") and spec.signatures is None:
        yield f"signatures is missing: a {spec.task} task has no outputs of its own"
    if spec.task in ("text", "custom") and not spec.loss and spec.fit is None:
        yield f"loss is missing: a {spec.task} task has none of its own (or give fit)"


def check_uncertainty(spec: ModelSpec) -> Iterator[str]:
    if spec.on_atypical not in get_args(OnAtypical):
        yield f"on_atypical: expected {', '.join(get_args(OnAtypical))}; received {spec.on_atypical!r}"
    if spec.feature_layer and spec.signatures:
        yield "feature_layer: a model with signatures of its own answers what these return"


def check_recipes(recipes: Mapping[str, Any]) -> Iterator[str]:
    if "quick" not in recipes:
        yield f"recipes: expected one named quick, received {', '.join(recipes) or 'none'}"
    for name, recipe in recipes.items():
        if not isinstance(recipe, Recipe):
            yield f"recipes: {name}: expected a Recipe, received {type(recipe).__name__}"


def check_search(spec: ModelSpec) -> Iterator[str]:
    """Whether each range is of a key of every recipe, and its ends are valid for it."""
    for name, recipe in spec.recipes.items():
        for key, values in spec.search.items():
            for value in values.ends() if isinstance(recipe, Recipe) else ():
                problem = find_refusal(partial(recipe.override, {key: value}))
                if problem:
                    yield f"search: {key}: {problem} (recipe {name})"
                    break


def check_card(spec: ModelSpec) -> Iterator[str]:
    """Whether a model card's words are texts, or lists of them, and its file of measured kinds is there."""
    card = spec.card
    if card is None:
        return
    if not isinstance(card, Card):
        yield f"card: expected a Card, received {card!r:.80}"
        return
    for name, value in vars(card).items():
        if name in CARD_LISTS:
            if not (isinstance(value, tuple | list) and all(isinstance(each, str) for each in value)):
                yield f"card: {name}: expected a tuple of texts, received {value!r:.80}"
        elif not isinstance(value, str):
            yield f"card: {name}: expected a text, received {value!r:.80}"
    if isinstance(card.measured, str) and card.measured and spec.file:
        try:
            read_measured(spec.file.parent / card.measured)
        except CorruptData as error:
            yield f"card: measured: {error}"


def find_refusal(action: Callable[[], object]) -> str:
    """The text of ``InvalidRecipe``, if the action raises it."""
    try:
        action()
    except InvalidRecipe as error:
        return str(error)
    return ""
