"""From reviews to what the reviews' model learns from: whole reviews, soft labels, and short texts beside them."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.special import expit

from modelyard.models.data import Split, Splits
from modelyard.models.errors import InvalidRecipe
from modelyard.models.inputs import State
from modelyard.models.recipes import Recipe, recipe
from modelyard.models.spec import PreparedData
from modelyard.models.text import short_texts
from modelyard.models.text.batches import ReviewBatches
from modelyard.models.text.ngrams import NgramModel, fit_ngrams
from modelyard.models.text.parts import list_learned
from modelyard.models.text.short_texts import ShortTexts
from modelyard.models.text.statements import list_polar_words
from modelyard.models.text.unlabelled import learn_language
from modelyard.models.text.vocabulary import (
    FIRST_WORD,
    PAD_MULTIPLE,
    TokenIds,
    encode,
    join,
    learn_vocabulary,
    truncate,
)
from modelyard.models.text.word_vectors import KINDS_OF_POLARITY, learn_word_vectors, tell_polarity
from modelyard.models.types import Array

SHORT_FACTOR = 2
"""Short texts are in batches of so many times the recipe's size: a step costs little more, and there are fewer."""
FEW = 10_000
"""Of no more texts, a step each is needed."""


@recipe
class SentimentRecipe(Recipe):
    """The recipe of the reviews' model."""

    vocabulary_size: Annotated[int, Field(ge=100, le=1_000_000, description="Word ids, but for rated words.")] = 30_000
    min_texts: Annotated[int, Field(ge=1, description="Reviews a word must occur in to be in the vocabulary.")] = 2
    max_words: Annotated[
        int, Field(ge=8, le=20_000, description="Of longer reviews, first third and last two thirds are looked at.")
    ] = 2_000
    max_tokens: Annotated[
        int,
        Field(
            ge=8,
            le=4096,
            multiple_of=PAD_MULTIPLE,
            description="Words that the LSTM reads: of longer reviews, the first third and the last two thirds.",
        ),
    ] = 400
    vector_size: Annotated[int, Field(ge=8, le=512, description="Dimensions of a word vector.")] = 128
    vector_scale: Annotated[
        float,
        Field(
            ge=0, le=100, description="Length of the initial word vectors; too short and the optimiser overwrites them."
        ),
    ] = 6.0
    polarity_scale: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="Factor of what labels, people and the words like it say of a word, its vector's last numbers.",
        ),
    ] = 2.0
    learned_words: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            description="Most frequent words whose vectors change in training, beside those that rules make texts of.",
        ),
    ] = 4_000
    window: Annotated[int, Field(ge=1, le=20, description="Words to either side that shape a word's vector.")] = 6
    contexts: Annotated[int, Field(ge=10, le=60_000, description="Frequent words that count as neighbours.")] = 5_000
    unlabelled: Annotated[
        int, Field(ge=0, le=50_000, description="Unlabelled reviews that vocabulary and vectors learn from.")
    ] = 0
    soft_labels: Annotated[
        int,
        Field(ge=0, le=50_000, description="Unlabelled reviews trained on with the labels of a linear n-gram model."),
    ] = 0
    soft_weight: Annotated[
        float, Field(gt=0, le=1, description="How much one of those counts in training, beside a labelled review.")
    ] = 1.0
    teacher_share: Annotated[
        float, Field(ge=0, le=1, description="Share of that model's answer in the target of a labelled review.")
    ] = 0.0
    pieces: Annotated[
        float, Field(ge=0, le=20, description="Sentences cut from the reviews to learn from, per labelled review.")
    ] = 0.0
    contrasts: Annotated[
        float, Field(ge=0, le=20, description="Sentences of the reviews and the same negated, per labelled review.")
    ] = 0.0
    statements: Annotated[
        float, Field(ge=0, le=20, description="Short statements made by rule to learn from, per labelled review.")
    ] = 0.0
    written: Annotated[
        int, Field(ge=0, le=20, description="How often to learn from the short reviews that ship with the project.")
    ] = 0
    longest_run: Annotated[int, Field(ge=3, le=4, description="Words of the linear model's longest n-grams.")] = 3
    ngram_share: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Weight of the linear model's log-odds in the answer to a review; less in short texts. "
            "0: the LSTM alone.",
        ),
    ] = 0.5
    filters: Annotated[int, Field(ge=8, le=1024, description="Channels of the convolution before the LSTM.")] = 128
    kernel_size: Annotated[int, Field(ge=1, le=15, description="Tokens that the convolution sees at once.")] = 5
    stride: Annotated[int, Field(ge=1, le=8, description="Tokens per LSTM step; a divisor of 8.")] = 4
    units: Annotated[int, Field(ge=4, le=1024, description="LSTM units per direction.")] = 64
    short_units: Annotated[int, Field(ge=4, le=512, description="Units per direction of the LSTM for sentences.")] = 32
    word_dropout: Annotated[float, Field(ge=0, lt=1, description="Share of words blanked in training.")] = 0.1
    vector_dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of vector dimensions blanked per review.")
    ] = 0.3
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout before the last layer.")] = 0.5
    language_epochs: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="Passes over the texts in which the LSTM first learns to guess words; it needs a kernel_size "
            "and a stride of 1.",
        ),
    ] = 0
    language_samples: Annotated[
        int, Field(ge=1, le=60_000, description="Words that each word is told from in those passes.")
    ] = 2_000
    adversarial: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="Weight of virtual adversarial training; each step then takes three times as long.",
        ),
    ] = 0.0
    distance: Annotated[
        float, Field(gt=0, le=100, description="How far that moves the word vectors of a text, all together.")
    ] = 2.0


def prepare_reviews(splits: Splits, recipe: SentimentRecipe, written: Split) -> PreparedData:
    """Vocabulary, word vectors, the linear model, soft labels if the recipe has some, short texts, batches.

    Args:
        written: short reviews to learn from as well, if the recipe wants them.
    """
    labels, unlabelled = splits.train.y, _unlabelled(splits, recipe)
    vocabulary, whole = learn_vocabulary(
        [*splits.train.x, *unlabelled], recipe.vocabulary_size, recipe.min_texts, list_polar_words()
    )
    ids = truncate(whole, recipe.max_words)
    folds = 3 if recipe.teacher_share else 2  # the answers of folds are targets, or calibrate only
    linear, held_out = fit_ngrams(
        ids[: len(labels)], labels, orders=(1, 2, recipe.longest_run), folds=folds, seed=recipe.seed
    )
    state = {
        "vocabulary": vocabulary,
        "max_tokens": np.array(recipe.max_words, np.int32),
        "learned": list_learned(vocabulary, recipe.learned_words),
        "vectors": _initial_vectors(whole, ids[: len(labels)], labels, vocabulary, recipe).astype(np.float16),
        **linear.to_state(),
    }
    targets = _targets(labels, ids, recipe, linear, held_out)
    prepared = _prepared(splits, recipe, ids, targets, linear, state, written)
    return replace(prepared, state={**state, **_learn_language(prepared.train, state["vectors"], recipe)})


def prepare_with_state(splits: Splits, recipe: SentimentRecipe, state: State, written: Split) -> PreparedData:
    """The given vocabulary, word vectors and linear model; a teacher, if the recipe has one, learns from these reviews.

    Raises:
        InvalidRecipe: the recipe's word vectors have another size, or the version is of a release that knew pairs of
            words only.
    """
    vocabulary, dimensions = state["vocabulary"], state["vectors"].shape[1]
    if dimensions != recipe.vector_size:
        raise InvalidRecipe(
            f"recipe key 'vector_size': expected {dimensions}, as the version to start from has, "
            f"received {recipe.vector_size}; use init=random"
        )
    if state["ngram_table"].shape[1:] != (2,) or "learned" not in state:
        raise InvalidRecipe(
            "recipe key 'init': expected a version of this release, received an older one; use init=random"
        )
    linear = NgramModel.from_state(state)
    labels = targets = splits.train.y
    soft = _unlabelled(splits, recipe)[: recipe.soft_labels]
    ids = truncate(encode([*splits.train.x, *soft], vocabulary), recipe.max_words)
    if recipe.teacher_share or len(soft):
        teacher, held_out = fit_ngrams(
            ids[: len(labels)], labels, orders=(1, 2, recipe.longest_run), folds=3, seed=recipe.seed
        )
        targets = _targets(labels, ids, recipe, teacher, held_out)
    state = {**state, "max_tokens": np.array(recipe.max_words, np.int32)}
    return _prepared(splits, recipe, ids, targets, linear, state, written)


def _targets(labels: Array, ids: TokenIds, recipe: SentimentRecipe, linear: NgramModel, held_out: Array) -> Array:
    """Of labelled reviews, mixed with the teacher's answer; of the unlabelled ones behind them, the teacher's alone."""
    targets = (1 - recipe.teacher_share) * labels + recipe.teacher_share * expit(held_out)
    others = ids[len(labels) :][: recipe.soft_labels]
    return np.concatenate([targets, expit(linear.log_odds(others))]) if len(others) else targets


def _prepared(
    splits: Splits,
    recipe: SentimentRecipe,
    ids: TokenIds,
    targets: Array,
    linear: NgramModel,
    state: State,
    written: Split,
) -> PreparedData:
    short, short_targets = _short_texts(splits, recipe, linear, state["vocabulary"], written)
    together = join(truncate(ids[: len(targets)], recipe.max_tokens), truncate(short, recipe.max_tokens))
    labelled = len(splits.train.y)
    counts = (labelled, len(targets) - labelled, len(short_targets))
    weights = np.repeat([1.0, recipe.soft_weight, 1.0], counts)
    targets = np.concatenate([targets, short_targets])
    validation = truncate(encode(splits.validation.x, state["vocabulary"]), recipe.max_words)
    return PreparedData(
        train=ReviewBatches(
            together,
            targets,
            recipe.batch_size,
            weights=weights if recipe.soft_weight < 1 else None,
            seed=recipe.seed,
            passes=recipe.passes(len(targets)),
            short_factor=SHORT_FACTOR if len(targets) > FEW else 1,
        ),
        validation=ReviewBatches(validation, splits.validation.y, 2 * recipe.batch_size),
        state=state,
    )


def _learn_language(batches: ReviewBatches, vectors: Array, recipe: SentimentRecipe) -> State:
    """Where the network begins, if the recipe wants it to know the language first."""
    if not recipe.language_epochs:
        return {}
    if recipe.kernel_size * recipe.stride != 1:
        raise InvalidRecipe(
            "recipe key 'language_epochs': expected 0, or kernel_size and stride of 1, as a step is a word then; "
            f"received {recipe.language_epochs} with {recipe.kernel_size} and {recipe.stride}"
        )
    return learn_language(
        batches,
        vectors.astype(np.float32),
        epochs=recipe.language_epochs,
        samples=recipe.language_samples,
        filters=recipe.filters,
        units=recipe.units,
    )


def _short_texts(
    splits: Splits, recipe: SentimentRecipe, linear: NgramModel, vocabulary: Array, written: Split
) -> tuple[TokenIds, Array]:
    """Ids and targets of the short texts that the recipe wants, if any."""
    reviews, labels, seed = splits.train.x, splits.train.y, recipe.seed
    made = short_texts.state(round(recipe.statements * len(labels)), seed)
    made += short_texts.contrast(reviews, labels, round(recipe.contrasts * len(labels)), seed)
    sides = np.tile(short_texts.be_certain(written.y == 1), recipe.written)
    made += ShortTexts([str(text) for text in written.x] * recipe.written, sides)
    pieces, sides = short_texts.cut_pieces(reviews, labels, round(recipe.pieces * len(labels)), seed)
    ids = encode([*made.texts, *pieces], vocabulary)
    judged = short_texts.judge_pieces(sides, linear.log_odds(ids[len(made.texts) :]))
    has_words = ids.lengths > 0
    return ids.select_texts(has_words), np.concatenate([made.targets, judged])[has_words]


def _unlabelled(splits: Splits, recipe: SentimentRecipe) -> list[str]:
    return [] if splits.unlabelled is None else list(splits.unlabelled[: max(recipe.unlabelled, recipe.soft_labels)])


def _initial_vectors(
    ids: TokenIds, labelled: TokenIds, labels: Array, vocabulary: Array, recipe: SentimentRecipe
) -> Array:
    """``float32 [V, vector_size]``: what a word's neighbours say of it and, last, labels, people, and words like it."""
    vectors = learn_word_vectors(
        ids,
        vocabulary_size=FIRST_WORD + len(vocabulary),
        dimensions=recipe.vector_size - KINDS_OF_POLARITY,
        window=recipe.window,
        contexts=recipe.contexts,
        seed=recipe.seed,
    )
    polarity = tell_polarity(vectors, labelled, labels, vocabulary)
    return np.column_stack([recipe.vector_scale * vectors, recipe.polarity_scale * polarity])
