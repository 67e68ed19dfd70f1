"""Keras layers of networks that see small pictures: what Keras has, in fewer and cheaper steps on a processor."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("modelyard")
class Conv2D(keras.layers.Conv2D):  # type: ignore[misc]  # Keras has no type information
    """A convolution of pixels that are multiplied by a number first.

    Its kernel is, which is a few numbers, and once for all in an exported graph. Its weights have the shapes, and the
    place in a file, of Keras's own layer behind a ``Rescaling``.
    """

    def __init__(self, filters: int, kernel_size: int, *, scale: float = 1.0, **options: Any) -> None:
        super().__init__(filters, kernel_size, **options)
        self.scale = scale

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, kernel * self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("modelyard")
class Pool(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """The largest of each square of 2 x 2, ``[N,2H,2W,C]`` -> ``[N,H,W,C]``.

    The gradient of TensorFlow's own pooling takes a fifth of a training step on a processor, that of two maxima little;
    its answers take less than theirs.
    """

    def compute_output_shape(self, shape: Any) -> Any:
        return shape[0], shape[1] // 2, shape[2] // 2, shape[3]

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training:
            return keras.ops.max_pool(x, 2)
        _, height, width, channels = x.shape
        rows = keras.ops.unstack(keras.ops.reshape(x, (-1, height // 2, 2, width, channels)), axis=2)
        x = keras.ops.reshape(keras.ops.maximum(*rows), (-1, height // 2, width // 2, 2, channels))
        return keras.ops.maximum(*keras.ops.unstack(x, axis=3))
