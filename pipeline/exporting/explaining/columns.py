"""A weight for each column, number or step: what the score loses when usual values take its place, on their average.

In a linear model that is its coefficient times its distance from the mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from modelyard.pipeline.exporting.explaining.background import Background
from modelyard.pipeline.exporting.explaining.removal import measure_drop, repeat

Score = Callable[[Mapping[str, Any]], Any]
"""Inputs that differ from the example's, ``[M,...]`` by name -> ``float32 [M]``."""

AT_ONCE, FEW_AT_ONCE = 64, 8
"""Examples in one run; few where one holds an image, a text or a sequence."""
MAX_UNITS = 256
"""A longer vector is weighed by groups of neighbours, and so is a sequence of more steps than ``MAX_STEPS``."""
MAX_STEPS = 64


def weigh_columns(
    score: Score, base: Any, row: Mapping[str, Any], background: Background, names: Sequence[str], at_once: int
) -> Any:
    """``float32 [C]`` of inputs of one value each, all numbers or all texts; in the order of ``names``."""
    known = tf.stack([row[name] for name in names])
    others = tf.stack([tf.constant(background[name].tolist(), known.dtype) for name in names], axis=1)

    def run(part: Any, value: Any) -> Any:
        is_out = tf.equal(tf.range(len(names)), part[:, None])
        changed = tf.where(is_out, tf.gather(others, value), known)
        return score(dict(zip(names, tf.unstack(changed, axis=1), strict=True)))

    return measure_drop(base, run, len(names), others.shape[0], at_once)


def weigh_whole(score: Score, base: Any, name: str, others: Any, at_once: int) -> Any:
    """``float32 [1]`` of one input as a whole.

    Args:
        others: ``[K,...]``, what takes its place.
    """
    return measure_drop(base, lambda _, value: score({name: tf.gather(others, value)}), 1, others.shape[0], at_once)


def weigh_numbers(score: Score, base: Any, name: str, vector: Any, others: Any, at_once: int) -> Any:
    """``float32 [D]`` of the numbers of a vector ``[D]``.

    Args:
        others: ``float32 [K,D]``.
    """
    size = others.shape[1]
    units = min(size, MAX_UNITS)
    unit = tf.range(size) * units // size

    def run(part: Any, value: Any) -> Any:
        is_out = tf.equal(unit, part[:, None])
        return score({name: tf.where(is_out, tf.gather(others, value), vector)})

    values = max(1, min(others.shape[0], 2 * MAX_UNITS // units))
    return share_out(measure_drop(base, run, units, values, at_once), unit)


def weigh_steps(score: Score, base: Any, name: str, sequence: Any, step: Any) -> Any:
    """``float32 [T]`` of the steps of a sequence ``[T,D]``.

    Args:
        step: ``float32 [1,D]``, a usual one.
    """
    count = tf.shape(sequence)[0]
    units = tf.minimum(count, MAX_STEPS)
    unit = tf.range(count) * units // tf.maximum(count, 1)

    def run(part: Any, _: Any) -> Any:
        is_out = tf.equal(unit, part[:, None])[..., None]
        return score({name: tf.where(is_out, step, sequence)})

    return share_out(measure_drop(base, run, units, 1, MAX_STEPS // 4), unit)


def share_out(weights: Any, unit: Any) -> Any:
    """Weights of units -> of their members, in equal parts."""
    members = tf.cast(tf.math.bincount(unit, minlength=tf.shape(weights)[0]), tf.float32)
    return tf.gather(weights / members, unit)


def complete(row: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """All inputs ``[M,...]``: those that are not ``changed`` as the example has them."""
    size = tf.shape(next(iter(changed.values())))[0]
    return {name: changed[name] if name in changed else repeat(value, size) for name, value in row.items()}
