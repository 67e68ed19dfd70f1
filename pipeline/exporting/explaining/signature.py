"""The signatures ``explain`` and ``explain_bytes`` of an exported version.

``explain`` takes what ``serving_default`` does. Each example is explained by itself, in runs of a fixed size, so that
its weights do not depend on the others, and memory stays bounded.

Outputs: ``class_id`` int64 [N], the class or label that is explained (of numbers, the first is); ``score`` float32 [N],
its log-odds, or the value; ``weights`` float32, what each part of the input adds to the score:

- an image ``[N,H,W]``; a vector ``[N,D]``; a sequence ``[N,T]``; a number, category or date ``[N,1]``;
- a text ``[N,W]``, with ``words`` string ``[N,W]`` and where they stand, ``starts`` and ``ends`` int32 ``[N,W]``, in
  characters; shorter texts are filled up with empty words;
- several inputs ``[N,C]``, one for each, with their names ``inputs`` string ``[N,C]``; and of each that has parts
  itself the same as above, as ``NAME_weights``, ``NAME_words`` and so on.

``explain_bytes`` has ``images`` (or ``NAME_images``) uint8 ``[N,H,W,C]`` besides: the pixels that the model saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from modelyard.models.inputs import ImageInput, OneInput, SequenceInput, TextInput, VectorInput
from modelyard.models.types import Array
from modelyard.pipeline.exporting.explaining import columns, pictures, words
from modelyard.pipeline.exporting.explaining.background import Background
from modelyard.pipeline.exporting.explaining.scoring import Raw, Scores

EXPLAIN, EXPLAIN_BYTES = "explain", "explain_bytes"


@dataclass(frozen=True)
class Explainer:
    """Explains the answers of one model."""

    scores: Scores
    kinds: Mapping[str, OneInput]
    """The inputs, in the order of the data."""
    background: Background

    def explain(self, **named: Any) -> dict[str, Any]:
        """Raw inputs by name, ``[N,...]`` -> outputs by name."""
        rows: dict[str, Any] = dict(named)
        described: dict[str, Any] = {}
        for name, kind in self.kinds.items():
            if isinstance(kind, TextInput):
                pieces, counts = words.split_pieces(named[name])
                rows |= {pieces_key(name): pieces, counts_key(name): counts}
                described |= {
                    self.name_output(name, key): value for key, value in words.describe_pieces(pieces).items()
                }
        count = tf.shape(next(iter(named.values())))[0]

        def explain_row(place: Any) -> dict[str, Any]:
            # Rows are looked up: a loop over many tensors would be a dozen operations for each of them.
            return self._explain_row({name: tf.gather(values, place) for name, values in rows.items()})

        weights = tf.map_fn(
            explain_row, tf.range(count), fn_output_signature=self._list_outputs(), parallel_iterations=1
        )
        if len(self.kinds) > 1:
            described["inputs"] = tf.tile(tf.constant([list(self.kinds)]), [count, 1])
        # A nought has no sign: "-0.0" would read as a weight.
        unsigned = {
            name: tf.where(tf.equal(found, 0.0), 0.0, found) if found.dtype.is_floating else found
            for name, found in weights.items()
        }
        return {**unsigned, **described}

    def name_output(self, name: str, output: str) -> str:
        """An output's own name where there is one input."""
        return output if len(self.kinds) == 1 else f"{name}_{output}"

    def _explain_row(self, row: Raw) -> dict[str, Any]:
        raw = {name: row[name] for name in self.kinds}
        whole = self.scores.run(**{name: value[None] for name, value in raw.items()})
        chosen = self.scores.choose(whole)

        def score(changed: Raw) -> Any:
            return self.scores.select(self.scores.run(**columns.complete(raw, changed)), chosen)

        def score_inline(changed: Raw) -> Any:
            return self.scores.select_inline(self.scores.run_inline(**columns.complete(raw, changed)), chosen)

        base = self.scores.select(whole, chosen)[0]
        parts = {
            self.name_output(name, "weights"): self._weigh_parts(
                score_inline if self._is_image(name) else score, base, row, name
            )
            for name in self.kinds
            if self._has_parts(name)
        }
        if len(parts) < len(self.kinds) or len(self.kinds) > 1:
            parts["weights"] = self._weigh_inputs(score, base, raw)
        return {**parts, "score": base, **({} if self.scores.task == "regression" else {"class_id": chosen})}

    def _has_parts(self, name: str) -> bool:
        return isinstance(self.kinds[name], ImageInput | TextInput | VectorInput | SequenceInput)

    def _is_image(self, name: str) -> bool:
        return isinstance(self.kinds[name], ImageInput)

    def _weigh_parts(self, score: columns.Score, base: Any, row: Raw, name: str) -> Any:
        """The weights of the parts of one input."""
        kind, value = self.kinds[name], row[name]

        def alone(values: Any) -> Any:
            return score({name: values})

        if isinstance(kind, TextInput):
            return words.weigh_words(alone, base, row[pieces_key(name)], row[counts_key(name)])
        others = tf.constant(self.background[name])
        if isinstance(kind, ImageInput):
            return pictures.weigh_pixels(alone, base, value, others, kind)
        if isinstance(kind, VectorInput):
            return columns.weigh_numbers(score, base, name, value, others, self._at_once)
        return columns.weigh_steps(score, base, name, value, others)

    def _weigh_inputs(self, score: columns.Score, base: Any, raw: Raw) -> Any:
        """``[C]``: the weights of whole inputs, in the order of the data."""
        order: list[str] = []
        weights = []
        for kinds in (("number",), ("category", "date")):
            if names := [name for name, kind in self.kinds.items() if kind.kind in kinds]:
                weights.append(columns.weigh_columns(score, base, raw, self.background, names, self._at_once))
                order += names
        for name in self.kinds:
            if self._has_parts(name):
                weights.append(columns.weigh_whole(score, base, name, self._blank(raw, name), self._at_once))
                order.append(name)
        return tf.gather(tf.concat(weights, axis=0), [order.index(name) for name in self.kinds])

    def _blank(self, raw: Raw, name: str) -> Any:
        """What takes the place of a whole image, text, vector or sequence, ``[K,...]``."""
        kind = self.kinds[name]
        if isinstance(kind, TextInput):
            return tf.constant([""])
        others = tf.constant(self.background[name])
        return others if isinstance(kind, VectorInput) else tf.broadcast_to(others, tf.shape(raw[name]))[None]

    @property
    def _at_once(self) -> int:
        is_large = any(isinstance(kind, ImageInput | TextInput | SequenceInput) for kind in self.kinds.values())
        return columns.FEW_AT_ONCE if is_large else columns.AT_ONCE

    def _list_outputs(self) -> dict[str, Any]:
        """``tf.TensorSpec`` of the outputs of one example."""
        specs = {
            self.name_output(name, "weights"): tf.TensorSpec(weights_shape(kind), tf.float32)
            for name, kind in self.kinds.items()
        }
        if len(self.kinds) > 1:
            specs = {name: spec for name, spec in specs.items() if self._has_parts(name.removesuffix("_weights"))}
            specs["weights"] = tf.TensorSpec((len(self.kinds),), tf.float32)
        specs["score"] = tf.TensorSpec((), tf.float32)
        return specs if self.scores.task == "regression" else {**specs, "class_id": tf.TensorSpec((), tf.int64)}


def weights_shape(kind: OneInput) -> tuple[int | None, ...]:
    """Of the weights of one example."""
    if isinstance(kind, ImageInput):
        return (kind.height, kind.width)
    if isinstance(kind, TextInput | SequenceInput):
        return (None,)
    return (kind.size,) if isinstance(kind, VectorInput) else (1,)


def pieces_key(name: str) -> str:
    """Where a row has the pieces of a text; no input has such a name."""
    return f"{name}/pieces"


def counts_key(name: str) -> str:
    """Where a row has their number."""
    return f"{name}/count"


def show_pixels(images: Array) -> Any:
    """Pixels as a picture holds them: ``uint8``."""
    return tf.cast(tf.round(tf.clip_by_value(images, 0, 255)), tf.uint8)
