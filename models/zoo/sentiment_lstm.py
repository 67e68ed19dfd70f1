"""Is a film review positive? An LSTM over word vectors and a linear model over pairs of words, in one graph.

The two err on different reviews: their averaged log-odds are better than either (Mesnil et al. 2014, arXiv:1412.5335;
the shape is that of a wide and deep model, Cheng et al. 2016, arXiv:1606.07792). The LSTM is trained by itself: the
linear model knows the training reviews by heart and would leave it nothing to learn.
"""

from typing import Annotated, Any

import keras
import numpy as np
from pydantic import Field
from scipy.special import expit

from modelyard import (
    Baseline,
    Card,
    Gate,
    ModelSpec,
    PreparedData,
    Recipe,
    Splits,
    State,
    TextInput,
    choice,
    linear_range,
    log_range,
    recipe,
)
from modelyard.models.datasets.imdb import IMDB, LABELS
from modelyard.models.errors import InvalidRecipe
from modelyard.models.text.batches import ReviewBatches
from modelyard.models.text.fused_lstm import FusedLSTM
from modelyard.models.text.ngram_vote import NgramVote
from modelyard.models.text.ngrams import NgramModel, fit_linear, fit_ngrams, index_ngrams
from modelyard.models.text.vocabulary import (
    FIRST_WORD,
    PAD_MULTIPLE,
    PADDING,
    TokenIds,
    encode,
    learn_vocabulary,
    make_vectoriser,
    truncate,
)
from modelyard.models.text.word_vectors import learn_word_vectors, measure_polarity
from modelyard.models.types import Array


@recipe
class SentimentRecipe(Recipe):
    """The recipe of the reviews' model."""

    vocabulary_size: Annotated[
        int, Field(ge=100, le=46_340, description="Word ids in use at most; a pair of them fits into 31 bits.")
    ] = 30_000
    min_texts: Annotated[int, Field(ge=1, description="Reviews a word must occur in to be in the vocabulary.")] = 2
    max_tokens: Annotated[
        int, Field(ge=8, le=4096, description="Longer reviews keep their first third and last two thirds.")
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
        Field(ge=0, le=100, description="Factor of a word's naive Bayes log-count ratio, its vector's last number."),
    ] = 2.0
    window: Annotated[
        int, Field(ge=1, le=20, description="Words to either side that shape a word's initial vector.")
    ] = 6
    contexts: Annotated[int, Field(ge=10, le=60_000, description="Most frequent words that count as neighbours.")] = (
        5_000
    )
    unlabelled: Annotated[
        int, Field(ge=0, le=50_000, description="Unlabelled reviews that vocabulary and vectors learn from.")
    ] = 0
    soft_labels: Annotated[
        int,
        Field(ge=0, le=50_000, description="Unlabelled reviews trained on with the labels of a linear n-gram model."),
    ] = 0
    teacher_share: Annotated[
        float, Field(ge=0, le=1, description="Share of that model's answer in the target of a labelled review.")
    ] = 0.0
    ngram_share: Annotated[
        float, Field(ge=0, lt=1, description="Weight of the linear model's log-odds in the answer; 0: the LSTM alone.")
    ] = 0.5
    filters: Annotated[int, Field(ge=8, le=1024, description="Channels of the convolution before the LSTM.")] = 128
    kernel_size: Annotated[int, Field(ge=1, le=15, description="Tokens that the convolution sees at once.")] = 5
    stride: Annotated[int, Field(ge=1, le=8, description="Tokens per LSTM step; a divisor of 8.")] = 4
    units: Annotated[int, Field(ge=4, le=1024, description="LSTM units per direction.")] = 64
    word_dropout: Annotated[float, Field(ge=0, lt=1, description="Share of words blanked in training.")] = 0.1
    vector_dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of vector dimensions blanked per review.")
    ] = 0.3
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout before the last layer.")] = 0.5


# --- data ---------------------------------------------------------------------------------------------------------


def prepare(splits: Splits, recipe: SentimentRecipe) -> PreparedData:
    """Vocabulary, word vectors, the linear model, soft labels if the recipe has some, batches."""
    labels, unlabelled = splits.train.y, _unlabelled(splits, recipe)
    vocabulary, whole = learn_vocabulary([*splits.train.x, *unlabelled], recipe.vocabulary_size, recipe.min_texts)
    size = FIRST_WORD + len(vocabulary)
    ids = truncate(whole, recipe.max_tokens)
    labelled = ids[: len(labels)]
    linear, held_out = fit_ngrams(labelled, labels, vocabulary_size=size, folds=3, seed=recipe.seed)
    state = {
        "vocabulary": vocabulary,
        "max_tokens": np.array(recipe.max_tokens, np.int32),
        "vectors": _initial_vectors(whole, labelled, labels, size, recipe).astype(np.float16),
        **_ngram_state(linear),
    }
    return _prepared(splits, recipe, ids, _targets(labels, ids, recipe, linear, held_out), state)


def prepare_with_state(splits: Splits, recipe: SentimentRecipe, state: State) -> PreparedData:
    """The given vocabulary, word vectors and linear model; a teacher, if the recipe has one, learns from these reviews.

    Raises:
        InvalidRecipe: the recipe's word vectors have another size.
    """
    vocabulary, (size, dimensions) = state["vocabulary"], state["vectors"].shape
    if dimensions != recipe.vector_size:
        raise InvalidRecipe(
            f"recipe key 'vector_size': expected {dimensions}, as the version to start from has, "
            f"received {recipe.vector_size}; use init=random"
        )
    labels = targets = splits.train.y
    soft = _unlabelled(splits, recipe)[: recipe.soft_labels]
    ids = truncate(encode([*splits.train.x, *soft], vocabulary), recipe.max_tokens)
    if recipe.teacher_share or len(soft):
        labelled = ids[: len(labels)]
        linear, held_out = fit_ngrams(labelled, labels, vocabulary_size=size, folds=3, seed=recipe.seed)
        targets = _targets(labels, ids, recipe, linear, held_out)
    return _prepared(splits, recipe, ids, targets, {**state, "max_tokens": np.array(recipe.max_tokens, np.int32)})


def _targets(labels: Array, ids: TokenIds, recipe: SentimentRecipe, linear: NgramModel, held_out: Array) -> Array:
    """Of labelled reviews, mixed with the teacher's answer; of the unlabelled ones behind them, the teacher's alone."""
    targets = (1 - recipe.teacher_share) * labels + recipe.teacher_share * expit(held_out)
    others = ids[len(labels) :][: recipe.soft_labels]
    return np.concatenate([targets, expit(linear.log_odds(others))]) if len(others) else targets


def _prepared(splits: Splits, recipe: SentimentRecipe, ids: TokenIds, targets: Array, state: State) -> PreparedData:
    passes = recipe.passes(len(targets))
    validation = truncate(encode(splits.validation.x, state["vocabulary"]), recipe.max_tokens)
    return PreparedData(
        train=ReviewBatches(ids[: len(targets)], targets, recipe.batch_size, seed=recipe.seed, passes=passes),
        validation=ReviewBatches(validation, splits.validation.y, 2 * recipe.batch_size),
        state=state,
    )


def _ngram_state(linear: NgramModel) -> State:
    table, bias = linear.table()
    return {
        "ngram_codes": linear.index.codes.astype(np.int32),
        "ngram_table": table,
        "ngram_bias": np.array(bias, np.float32),
    }


def _unlabelled(splits: Splits, recipe: SentimentRecipe) -> list[str]:
    if splits.unlabelled is None:
        return []
    return list(splits.unlabelled[: max(recipe.unlabelled, recipe.soft_labels)])


def _initial_vectors(ids: TokenIds, labelled: TokenIds, labels: Array, size: int, recipe: SentimentRecipe) -> Array:
    """``float32 [size, vector_size]``: what a word's neighbours say of it and, last, what the labels do."""
    vectors = learn_word_vectors(
        ids,
        vocabulary_size=size,
        dimensions=recipe.vector_size - 1,
        window=recipe.window,
        contexts=recipe.contexts,
        seed=recipe.seed,
    )
    sentiment = measure_polarity(labelled, labels, size)
    return np.column_stack([recipe.vector_scale * vectors, recipe.polarity_scale * sentiment])


def measure_baseline(splits: Splits) -> Baseline:
    """Test accuracy of a linear SVM on words and pairs of words. It chooses nothing, so it learns validation, too."""
    labels = np.concatenate([splits.train.y, splits.validation.y])
    vocabulary, ids = learn_vocabulary([*splits.train.x, *splits.validation.x], 100_000, 2)
    index, features = index_ngrams(ids, FIRST_WORD + len(vocabulary))
    margins = fit_linear(features, labels, "tf-idf").margins(index.features(encode(splits.test.x, vocabulary)))
    accuracy = float(np.mean((margins > 0) == (splits.test.y == 1)))
    return Baseline("linear SVM on words and pairs of words (tf-idf)", accuracy)


# --- model --------------------------------------------------------------------------------------------------------


def build(recipe: SentimentRecipe, state: State) -> Any:
    """``int32 [N,L]``, ``L`` a multiple of ``PAD_MULTIPLE`` -> probability that the review is positive, ``[N,1]``.

    Padding is blanked before the convolution and masked after it: an answer does not depend on the rest of the batch.
    """
    if PAD_MULTIPLE % recipe.stride:
        raise InvalidRecipe(f"recipe key 'stride': expected a divisor of {PAD_MULTIPLE}, received {recipe.stride}")
    layers, ops = keras.layers, keras.ops
    vectors, codes = state["vectors"], state["ngram_codes"]
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(*vectors.shape, name="vectors")(ids)
    x = layers.Dropout(recipe.word_dropout, noise_shape=(None, None, 1), name="word_dropout")(x)
    x = layers.SpatialDropout1D(recipe.vector_dropout, name="vector_dropout")(x)
    x = x * ops.cast(ids != PADDING, "float32")[:, :, None]
    x = layers.Conv1D(
        recipe.filters, recipe.kernel_size, strides=recipe.stride, padding="same", activation="relu", name="phrases"
    )(x)
    steps = ids[:, :: recipe.stride] != PADDING
    x = layers.Bidirectional(FusedLSTM(recipe.units, return_sequences=True), name="lstm")(x, mask=steps)
    kept = ops.cast(steps, "float32")[:, :, None]
    mean = ops.sum(x * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1.0)
    peak = ops.max(x * kept - 2.0 * (1.0 - kept), axis=1)  # below any LSTM output, which lies within -1..1
    x = layers.Dropout(recipe.dropout, name="dropout")(ops.concatenate([mean, peak], axis=-1))
    log_odds = layers.Dense(1, name="log_odds")(x)
    if recipe.ngram_share:
        log_odds = NgramVote(len(codes), len(vectors), recipe.ngram_share, name="ngrams")(log_odds, ids)
    model = keras.Model(ids, layers.Activation("sigmoid", name="positive")(log_odds), name="sentiment_lstm")
    model.get_layer("vectors").set_weights([vectors.astype(np.float32)])
    if recipe.ngram_share:
        model.get_layer("ngrams").set_weights([codes, state["ngram_table"], state["ngram_bias"]])
    return model


SPEC = ModelSpec(
    name="sentiment_lstm",
    task="binary",
    summary="Is a film review positive?",
    input=TextInput(vectorise=make_vectoriser),
    labels=LABELS,
    dataset=IMDB,
    recipes={
        "quick": SentimentRecipe(
            epochs=1,
            batch_size=32,
            optimizer="adam",
            learning_rate=2.5e-3,
            clip_norm=1.0,
            keep="last",
            min_steps=60,
            vocabulary_size=20_000,
            unlabelled=20_000,
        ),
        "full": SentimentRecipe(
            epochs=3,
            batch_size=64,
            optimizer="adam",
            learning_rate=2.5e-3,
            clip_norm=1.0,
            keep="last",
            min_steps=60,
            contexts=10_000,
            unlabelled=50_000,
            soft_labels=50_000,
            teacher_share=0.3,
        ),
    },
    gate=Gate(metric="accuracy", floor=0.90, sample_floor=0.60, max_drop=0.01, max_ece=0.02),
    prepare=prepare,
    prepare_with_state=prepare_with_state,
    build=build,
    baseline=measure_baseline,
    card=Card(
        purpose="Says whether a film review in English is positive or negative; an example of a whole pipeline.",
        made_for=(
            "reviews of films in English, of a few sentences or more, that say what their author thinks",
            "texts as pages have them: with markup, entities, capitals, emphasis",
        ),
        not_made_for=(
            "other languages, and texts that judge nothing",
            "what people think of people; decisions about anybody",
        ),
        limits=(
            "It has two answers: neutral and mixed reviews get one of them.",
            "Irony, and praise of one thing to blame another, are read as words, not as what is meant.",
            "Other domains, such as products, have words that its films do not.",
        ),
        data="IMDB (Maas et al. 2011): reviews of 1 to 4 and 7 to 10 stars; nothing between, at most 30 of a film.",
        license="Apache-2.0",
        measured="sentiment_lstm.measured.json",
    ),
    search={
        "learning_rate": log_range(5e-4, 0.01),
        "batch_size": choice(32, 64, 128),
        "dropout": linear_range(0.2, 0.6),
        "vector_dropout": linear_range(0.1, 0.5),
        "word_dropout": linear_range(0, 0.2),
        "ngram_share": linear_range(0.3, 0.7),
        "filters": choice(64, 128, 192),
        "units": choice(32, 64, 96),
    },
)
