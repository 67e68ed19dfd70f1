"""What a score loses when a part of the input is taken out (occlusion), a bounded number of examples at a time.

Zeiler & Fergus 2014 for pictures; Covert, Lundberg & Lee 2021 compare what "taken out" may mean.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Run = Callable[[Any], Any]
"""``int32 [size]``, numbers of variants -> their scores ``float32 [size]``."""


def run_in_chunks(run: Run, count: Any, size: int) -> Any:
    """Scores ``[count]`` of all variants, ``size`` at a time: memory stays bounded, and so does their batch's effect.

    Args:
        count: an int, or ``int32 []``. Each call has ``size`` variants, the last one repeats the last variant.
    """
    if isinstance(count, int) and count <= size:
        return run(tf.range(count))

    def run_chunk(chunk: Any) -> Any:
        return tf.ensure_shape(run(tf.minimum(chunk * size + tf.range(size), count - 1)), (size,))

    found = tf.map_fn(
        run_chunk,
        tf.range((count + size - 1) // size),
        fn_output_signature=tf.TensorSpec((size,), tf.float32),
        parallel_iterations=1,
    )
    return tf.reshape(found, [-1])[:count]


def measure_drop(base: Any, run: Callable[[Any, Any], Any], parts: Any, values: int, size: int) -> Any:
    """``[parts]``: how much of ``base`` each part accounts for, on the average of what takes its place.

    Args:
        base: the score of the whole, ``[]``.
        run: ``(part, value)``, ``int32 [size]`` each -> scores with that value in that part's place.
        values: the number of values that take its place in turn.
        size: variants at a time.
    """
    found = run_in_chunks(lambda number: run(number // values, number % values), parts * values, size)
    return base - tf.reduce_mean(tf.reshape(found, [-1, values]), axis=1)


def repeat(tensor: Any, count: Any) -> Any:
    """One example's value -> ``[count,...]``."""
    return tf.tile(tensor[None], [count, *[1] * tensor.shape.rank])  # tf.repeat is a dozen operations
