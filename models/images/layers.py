"""Keras layers of networks that see small pictures: what Keras has, in fewer and cheaper steps on a processor.

Weights have the shapes, and the places in a file, of Keras's own layers of the same names.
"""

from typing import Any

import keras

_SIDE_BY_SIDE = 2
"""Outputs of a row that are computed as channels of one."""


@keras.saving.register_keras_serializable("modelyard")
class Conv2D(keras.layers.Conv2D):  # type: ignore[misc]  # Keras has no type information
    """A convolution of pixels that are multiplied by a number first: the kernel is, once for all in an exported graph.

    Where sizes allow it, as many pixels of a row as twice the stride are channels of one, and so are two outputs of it:
    as many as fill the vectors of a processor, and a picture needs no other order in memory.
    """

    def __init__(self, filters: int, kernel_size: int, *, scale: float = 1.0, **options: Any) -> None:
        super().__init__(filters, kernel_size, **options)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        width, channels = inputs.shape[2:]
        block, taken = _SIDE_BY_SIDE * self.strides[1], self._count_blocks()
        places = (width - self.kernel_size[1]) // self.strides[1] + 1
        if not self._may_join() or width % block or _SIDE_BY_SIDE * (width // block - taken + 1) != places:
            return super().call(inputs)
        x = ops.reshape(inputs, (-1, inputs.shape[1], width // block, block * channels))
        x = ops.conv(x, self._join_kernel(taken * block), strides=(self.strides[0], 1), padding="valid")
        if self.use_bias:
            x = ops.add(x, ops.tile(self.bias, _SIDE_BY_SIDE))
        if self.activation is not None:
            x = self.activation(x)
        return ops.reshape(x, (-1, x.shape[1], places, self.filters))

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, kernel * self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}

    def _may_join(self) -> bool:
        is_plain = self.padding == "valid" and self.groups == 1 and self.dilation_rate == (1, 1)
        return bool(is_plain and self.data_format == "channels_last")

    def _count_blocks(self) -> int:
        """Blocks of a row that the outputs side by side see."""
        step: int = self.strides[1]
        reach: int = (_SIDE_BY_SIDE - 1) * step + self.kernel_size[1]
        return -(-reach // (_SIDE_BY_SIDE * step))

    def _join_kernel(self, width: int) -> Any:
        """``[rows,blocks,pixels of a block * channels,outputs side by side * filters]``."""
        ops, kernel = keras.ops, self.kernel * self.scale
        rows, columns, channels, filters = kernel.shape
        joined = [
            ops.pad(kernel, [(0, 0), (first, width - columns - first), (0, 0), (0, 0)])
            for first in range(0, _SIDE_BY_SIDE * self.strides[1], self.strides[1])
        ]
        block = _SIDE_BY_SIDE * self.strides[1]
        shape = (rows, width // block, block * channels, _SIDE_BY_SIDE * filters)
        return ops.reshape(ops.stack(joined, axis=3), shape)


@keras.saving.register_keras_serializable("modelyard")
class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras has no type information
    """Batch normalisation between a convolution and its activation, of the largest of squares of 2 x 2 with ``pool``.

    A trained one is a factor and an offset, which TensorFlow makes a part of the convolution when it loads a graph,
    with ReLU. For that, an answer takes the largest last, which is the same where no factor is negative: ``pool`` keeps
    them so. Training takes it first: a quarter of the numbers to normalise.
    """

    def __init__(self, *, pool: bool = False, activation: str | None = None, **options: Any) -> None:
        if pool:
            options["gamma_constraint"] = "non_neg"
        super().__init__(**options)
        self.pool, self.activation = pool, keras.activations.get(activation)

    def compute_output_shape(self, shape: Any) -> Any:
        return (shape[0], shape[1] // 2, shape[2] // 2, shape[3]) if self.pool else shape

    def call(self, x: Any, training: bool | None = None) -> Any:
        ops = keras.ops
        if training and self.trainable:
            return self.activation(super().call(take_largest(x) if self.pool else x, training=True))
        factor = self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        x = self.activation(ops.add(x * factor, self.beta - self.moving_mean * factor))
        return ops.max_pool(x, 2, 2) if self.pool else x

    def get_config(self) -> dict[str, Any]:
        own = {"pool": self.pool, "activation": keras.activations.serialize(self.activation)}
        return {**super().get_config(), **own}


def take_largest(x: Any) -> Any:
    """The largest of each square of 2 x 2, ``[N,2H,2W,C]`` -> ``[N,H,W,C]``, to train by.

    The gradient of TensorFlow's own pooling takes a fifth of a training step on a processor, that of two maxima little.
    """
    ops, (_, height, width, channels) = keras.ops, x.shape
    rows = ops.unstack(ops.reshape(x, (-1, height // 2, 2, width, channels)), axis=2)
    x = ops.reshape(ops.maximum(*rows), (-1, height // 2, width // 2, 2, channels))
    return ops.maximum(*ops.unstack(x, axis=3))
