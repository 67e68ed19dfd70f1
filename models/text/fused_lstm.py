"""Keras's LSTM, run as one TensorFlow operation.

Keras runs an LSTM as a loop of some twenty operations a step: for a small batch the loop costs more than the
arithmetic (one review: 4.4 ms against 1.0). ``BlockLSTM`` does a whole sequence at once, and its gradient another. It
is a plain operation that TensorFlow Serving runs on any processor, needs no compiler and takes any length and batch
size. Source: tensorflow/core/kernels/rnn/lstm_ops.cc; its gates come in the order i, c, f, o. ``BlockLSTMV2`` has them
in Keras's order (i, f, c, o), but its gradient does not: it is wrong.
"""

from typing import Any

import keras


@keras.saving.register_keras_serializable("modelyard")
class FusedLSTM(keras.layers.LSTM):  # type: ignore[misc]  # Keras has no type information
    """``keras.layers.LSTM`` with the same weights and, to rounding, the same outputs.

    A mask has to be true up to a row's length and false from there on; outputs at masked steps are zero.
    Other backends, other activations and GPUs (for cuDNN) use Keras's own implementation.
    """

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """``float [N,T,C]`` -> last output ``[N,U]``, outputs ``[N,T,U]``, states ``[h, c]``, each ``[N,U]``."""
        if not self._can_fuse():
            return super().inner_loop(sequences, initial_state, mask, training)
        return self._run(sequences, initial_state, mask)

    def _can_fuse(self) -> bool:
        if keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        standard = self.activation is keras.activations.tanh and self.recurrent_activation is keras.activations.sigmoid
        return (
            standard and self.use_bias and self.compute_dtype == "float32" and not tf.config.list_logical_devices("GPU")
        )

    def _run(self, sequences: Any, initial_state: Any, mask: Any) -> Any:
        import tensorflow as tf

        rows, count = tf.shape(sequences)[0], tf.shape(sequences)[1]
        lengths = tf.fill([rows], count) if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        steps = tf.transpose(sequences, (1, 0, 2))
        if self.go_backwards:
            steps = tf.reverse_sequence(steps, lengths, seq_axis=0, batch_axis=1)
        no_peephole = tf.zeros([self.units])
        _, cells, _, _, _, _, outputs = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.cast(count, tf.int64),
            x=steps,
            h_prev=initial_state[0],
            cs_prev=initial_state[1],
            w=_order_gates(tf.concat([self.cell.kernel, self.cell.recurrent_kernel], axis=0)),
            b=_order_gates(self.cell.bias),
            wci=no_peephole,
            wcf=no_peephole,
            wco=no_peephole,
            forget_bias=0.0,
            cell_clip=-1.0,
        )
        last = tf.stack([tf.maximum(lengths - 1, 0), tf.range(rows)], axis=1)
        some = (lengths > 0)[:, None]
        hidden, cell = tf.gather_nd(outputs, last), tf.gather_nd(cells, last)
        states = [tf.where(some, hidden, initial_state[0]), tf.where(some, cell, initial_state[1])]
        outputs *= tf.transpose(tf.sequence_mask(lengths, count, outputs.dtype))[:, :, None]
        if self.go_backwards:  # Keras returns such outputs last step first, masked ones before all others
            outputs = tf.reverse(tf.reverse_sequence(outputs, lengths, seq_axis=0, batch_axis=1), [0])
        return tf.where(some, hidden, 0.0), tf.transpose(outputs, (1, 0, 2)), states


def _order_gates(weights: Any) -> Any:
    """``[...,4*U]`` in Keras's order of gates -> in that of ``BlockLSTM``."""
    import tensorflow as tf

    entry, forget, candidate, output = tf.split(tf.convert_to_tensor(weights), 4, axis=-1)
    return tf.concat([entry, candidate, forget, output], axis=-1)
