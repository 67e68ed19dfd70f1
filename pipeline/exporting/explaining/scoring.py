"""The number that an explanation is about: the log-odds of the class that is answered, or a value.

Log-odds, as probabilities saturate: between 0.9999 and 0.99 there is little left to see.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from modelyard.models.spec import Encode, ModelSpec, SignatureFunction
from modelyard.models.types import Task
from modelyard.pipeline.exporting.features import count_words

Raw = Mapping[str, Any]
"""Raw inputs by name: tensors ``[M,...]``, or of one example ``[...]``."""
Lean = Callable[[Any, Any], Any]
"""Logits ``[M,K]``, known and unknown words ``float32 [M,2]`` -> logits of what is answered."""
TASKS = ("binary", "multiclass", "multilabel", "regression")
"""Tasks with something to explain: there is no one number behind a text."""
TINY = 1e-7
"""Probabilities nearer to 0 are taken as this one where their logits are not known."""


@dataclass(frozen=True)
class Scores:
    """What a model says of examples, as one number for each class, label or value."""

    task: Task
    run: Callable[..., Any]
    """Raw inputs by keyword -> ``float32 [M,K]``, for classes logits. One function of the graph, however often it is
    called."""
    select: Callable[[Any, Any], Any]
    """That, and the number of a class, label or value, ``int64 []`` -> its log-odds or value ``[M]``; such a function,
    too."""
    run_inline: Callable[..., Any]
    """The same, traced anew: a gradient through a function of the graph takes twice the time to export."""
    select_inline: Callable[[Any, Any], Any]

    def choose(self, found: Any) -> Any:
        """``[1,K]`` -> ``int64 []``: the answered class, the likeliest label, or the first number."""
        if self.task == "regression":
            return tf.constant(0, tf.int64)
        return tf.argmax(found[0], output_type=tf.int64)


def make_scores(
    spec: ModelSpec,
    model: Any,
    encode: Encode | None,
    default: SignatureFunction,
    inputs: Sequence[Any],
    lean: Lean | None = None,
) -> Scores | None:
    """The scores of a model; None where its outputs are not those of its task.

    Args:
        default: ``serving_default``; a spec's own is asked in the model's place.
        inputs: ``tf.TensorSpec`` of the raw inputs.
        lean: what is answered to texts without known words.
    """

    def run(*tensors: Any) -> Any:
        named = {given.name: tensor for given, tensor in zip(inputs, tensors, strict=True)}
        if spec.signatures:
            return read_outputs(spec.task, default(**named))
        raw = named if isinstance(spec.input, Mapping) else tensors[0]
        given = encode(raw) if encode else raw
        logits = to_logits(spec.task, model(given, training=False))
        words = count_words(given) if lean else None
        return logits if lean is None or words is None else lean(logits, words)

    function = tf.function(run, input_signature=list(inputs), autograph=False)
    try:
        traced = function.get_concrete_function()
    except KeyError:
        return None
    names = [given.name for given in inputs]
    select = select_own if spec.task in ("multilabel", "regression") else select_class
    signature = [tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((), tf.int64)]
    return Scores(
        spec.task,
        lambda **named: traced(*(named[name] for name in names)),
        tf.function(select, input_signature=signature, autograph=False).get_concrete_function(),
        lambda **named: run(*(named[name] for name in names)),
        select,
    )


def select_own(found: Any, chosen: Any) -> Any:
    """One of the numbers, ``[M]``."""
    return tf.gather(found, chosen, axis=1)


def select_class(found: Any, chosen: Any) -> Any:
    """The log-odds ``[M]`` of a class against all others, from logits ``[M,K]``."""
    is_own = tf.equal(tf.range(tf.shape(found, tf.int64)[1]), chosen)
    others = tf.where(is_own, tf.constant(-float("inf"), found.dtype), found)
    return select_own(found, chosen) - tf.reduce_logsumexp(others, axis=1)


def read_outputs(task: Task, outputs: Mapping[str, Any]) -> Any:
    """As ``to_logits``, from the outputs of a signature; raises ``KeyError`` if the task's is not among them."""
    if task == "regression":
        return as_matrix(outputs["value"])
    probabilities = as_matrix(outputs["probabilities"])
    return log_odds(probabilities) if task == "multilabel" else log(probabilities)


def to_logits(task: Task, answer: Any) -> Any:
    """The answer of a Keras model -> ``float32 [M,K]``; of two classes, too, K is 2."""
    if task == "regression":
        return as_matrix(tf.cast(answer, tf.float32))
    # Keras notes at its softmax and sigmoid what they were given: losses use it, as log(sigmoid(x)) loses digits.
    logits = getattr(answer, "_keras_logits", None)
    if task == "multiclass":
        return log(answer) if logits is None else tf.cast(logits, tf.float32)
    found = log_odds(answer) if logits is None else tf.cast(logits, tf.float32)
    return found if task == "multilabel" else tf.concat([tf.zeros_like(found), found], axis=1)


def as_matrix(values: Any) -> Any:
    """``[M]`` or ``[M,K]`` -> ``[M,K]``."""
    return tf.reshape(values, [tf.shape(values)[0], -1])


def log(probabilities: Any) -> Any:
    return tf.math.log(tf.maximum(tf.cast(probabilities, tf.float32), TINY))


def log_odds(probabilities: Any) -> Any:
    return log(probabilities) - log(1.0 - tf.cast(probabilities, tf.float32))
