"""Which day is it? Dates as people write them -> ISO 8601, letter by letter.

An encoder and a decoder of LSTMs (Sutskever et al. 2014, arXiv:1409.3215) with attention (Luong et al. 2015,
arXiv:1508.04025); the task is that of several tutorials on attention, such as Andrew Ng's course on sequence models.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
from pydantic import Field

from modelyard import (
    Batches,
    Dataset,
    Gate,
    ModelSpec,
    PreparedData,
    Recipe,
    Split,
    Splits,
    State,
    TextInput,
    log_range,
    recipe,
)
from modelyard.models.types import Array

LENGTH = 40
"""Bytes of a text that are read."""
LETTERS = "0123456789-"
"""What the answer is written in; its length is always that of ``2026-11-29``."""
STEPS, START = 10, len(LETTERS)
FIRST, LAST = date(1900, 1, 1).toordinal(), date(2099, 12, 31).toordinal()
SHORT_YEARS = range(1969, 2069)
"""What a year of two digits stands for, as in POSIX: 69 is 1969, and 68 is 2068."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Pick = Callable[..., str]
"""One of its arguments, at random."""


@recipe
class TranslatorRecipe(Recipe):
    """The recipe of the dates' translator."""

    examples: Annotated[int, Field(ge=1, description="Dates to learn from; there are 68,049.")] = 100_000
    units: Annotated[int, Field(ge=4, le=1024, description="LSTM units of the encoder, per direction.")] = 64


# --- data ---------------------------------------------------------------------------------------------------------


def write_dates(folder: Path) -> Splits:  # noqa: ARG001  # the contract reads from a folder; this is computed
    """Days of 1900 to 2099, each written in one way at random; always the same, and each day in one part only."""
    generator = np.random.default_rng(0)
    days = generator.permutation(np.arange(FIRST, LAST + 1))
    texts = np.array([write_date(date.fromordinal(day), generator) for day in days.tolist()], dtype=object)
    iso = np.array([date.fromordinal(day).isoformat() for day in days.tolist()], dtype=object)

    def part(first: int, count: int) -> Split:
        return Split(texts[first : first + count], iso[first : first + count])

    return Splits(test=part(0, 4000), validation=part(4000, 1000), train=part(5000, len(days) - 5000))


def write_date(day: date, generator: np.random.Generator) -> str:
    """One of the ways to write a date in English, as it is, in small letters or in capitals."""

    def pick(*options: str) -> str:
        return options[generator.integers(len(options))]

    text = pick(write_words(day, pick), write_words(day, pick), write_digits(day, pick))
    return pick(text, text, text.lower(), text.upper())


def write_words(day: date, pick: Pick) -> str:
    """``Sunday 29th of November 2026``, ``Nov 29, 26``."""
    name, weekday, comma = MONTHS[day.month - 1], WEEKDAYS[day.weekday()], pick(",", "")
    number = pick(f"{day.day}", f"{day.day}", f"{day.day}{name_ordinal(day.day)}")
    month = pick(name, name[:3], f"{name[:3]}.", "Sept" if name == "September" else name)
    year = pick(
        *[f"{day.year}"] * 3, *([f"{day:%y}", f"'{day:%y}", f"\u2019{day:%y}"] if day.year in SHORT_YEARS else ())
    )
    return pick("", f"{weekday}{comma} ", f"{weekday[:3]}{comma} ") + pick(
        f"{number} {month} {year}",
        f"{month} {number}{comma} {year}",
        f"{number} of {month} {year}",
        f"the {number} of {month}{comma} {year}",
        f"{number}-{month}-{year}",
    )


def write_digits(day: date, pick: Pick) -> str:
    """``29/11/26``: before the year, the day comes first, as in most countries; after it, the month.

    The month comes first as well where no month has the second number: ``11/29/2026``.
    """
    year = pick(f"{day.year}", f"{day:%y}" if day.year in SHORT_YEARS else f"{day.year}")
    sign, style = pick("/", ".", "-"), pick("", "02")
    number, month = f"{day.day:{style}}", f"{day.month:{style}}"
    common = f"{number}{sign}{month}{sign}{year}"
    american = f"{month}/{number}/{year}" if day.day > len(MONTHS) else common
    return pick(common, common, american, day.isoformat(), f"{day.year}/{month}/{number}", f"{day:%Y%m%d}")


def name_ordinal(number: int) -> str:
    """``st`` of 1st, ``th`` of 11th."""
    teen = number // 10 == 1
    return "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def prepare(splits: Splits, recipe: TranslatorRecipe) -> PreparedData:
    """Batches of bytes ``[B,40]`` with the letters before (teacher forcing), and the letters, both ``[B,10]``."""

    def batches(split: Split, size: int, seed: int | None = None) -> Batches:
        letters = to_letters(split.y)
        before = np.roll(letters, 1, axis=1)
        before[:, 0] = START
        passes = 1 if seed is None else recipe.passes(len(split))
        return Batches({"text": to_bytes(split.x), "before": before}, letters, size, seed=seed, passes=passes)

    train = Split(splits.train.x[: recipe.examples], splits.train.y[: recipe.examples])
    return PreparedData(batches(train, recipe.batch_size, recipe.seed), batches(splits.validation, 500))


def to_bytes(texts: Array) -> Array:
    """``object [N]`` of ``str`` -> UTF-8 ``int32 [N,40]``, small letters, cut off or filled with zeros."""
    raw = np.array([text.encode().lower() for text in texts], f"S{LENGTH}")
    return raw.view(np.uint8).reshape(len(texts), LENGTH).astype(np.int32)


def to_letters(texts: Array) -> Array:
    """``object [N]`` of ``str`` -> places in ``LETTERS``, ``int32 [N,10]``."""
    return np.array([[LETTERS.index(letter) for letter in text] for text in texts], np.int32)


# --- model --------------------------------------------------------------------------------------------------------


def build(recipe: TranslatorRecipe, state: State) -> Any:  # noqa: ARG001  # part of the contract; bytes need no state
    """Bytes ``[N,40]`` and the letters before ``[N,10]`` -> probabilities of each letter ``[N,10,11]``."""
    layers, units = keras.layers, recipe.units
    text = keras.Input((LENGTH,), dtype="int32", name="text")
    before = keras.Input((STEPS,), dtype="int32", name="before")
    encoder = layers.Bidirectional(layers.LSTM(units, return_sequences=True, return_state=True), name="encoder")
    encoded, *states = encoder(layers.Embedding(256, 32, name="bytes")(text))
    h, c = (layers.Concatenate()([states[k], states[k + 2]]) for k in range(2))
    reader = keras.Model(text, [encoded, h, c], name="reader")
    encoded, h, c = reader(text)
    known = layers.Embedding(len(LETTERS) + 1, 32, name="letters")(before)
    written = layers.LSTM(2 * units, return_sequences=True, name="decoder")(known, initial_state=[h, c])
    looked = layers.Attention(name="attention")([written, encoded])
    mixed = layers.Dense(units, activation="tanh", name="mix")(layers.Concatenate()([written, looked]))
    answer = layers.Dense(len(LETTERS), activation="softmax", name="answer")(mixed)
    return keras.Model({"text": text, "before": before}, answer, name="translator")


def make_signatures(model: Any, state: State) -> dict[str, Callable[..., dict[str, Any]]]:  # noqa: ARG001
    """``serving_default``: texts -> ``text``, the likeliest letter at each step."""
    import tensorflow as tf

    layer = model.get_layer

    def translate(text: Any) -> dict[str, Any]:
        raw = tf.io.decode_raw(tf.strings.lower(text), tf.uint8, fixed_length=LENGTH)
        encoded, *memory = layer("reader")(tf.cast(raw, tf.int32))
        letter = tf.fill(tf.shape(text), START)
        written = []
        for _ in range(STEPS):
            found, memory = layer("decoder").cell(layer("letters")(letter), memory)
            looked = layer("attention")([found[:, None], encoded])[:, 0]
            mixed = layer("mix")(tf.concat([found, looked], axis=1))
            letter = tf.argmax(layer("answer")(mixed), axis=1, output_type=tf.int32)
            written.append(tf.gather(tf.constant(list(LETTERS)), letter))
        return {"text": tf.strings.reduce_join(tf.stack(written, axis=1), axis=1)}

    return {"serving_default": translate}


SPEC = ModelSpec(
    name="translator",
    task="text",
    summary="Which day is it? (a date in words -> ISO 8601)",
    input=TextInput(max_chars=LENGTH),
    dataset=Dataset(name="dates", homepage="https://www.iso.org/iso-8601-date-and-time-format.html", read=write_dates),
    recipes={
        "quick": TranslatorRecipe(epochs=2, batch_size=64, learning_rate=4e-3, clip_norm=1.0, keep="last"),
        "full": TranslatorRecipe(epochs=4, batch_size=64, learning_rate=4e-3, clip_norm=1.0, keep="last"),
    },
    gate=Gate(metric="exact", floor=0.99, max_drop=0.005),
    prepare=prepare,
    build=build,
    loss="sparse_categorical_crossentropy",
    signatures=make_signatures,
    search={"learning_rate": log_range(5e-4, 0.01)},
)
