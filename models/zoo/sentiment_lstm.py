"""Is a film review positive? LSTMs over word vectors and a linear model over runs of words, in one graph.

LSTM and linear model err on different reviews: their averaged log-odds are better than either (Mesnil et al. 2014,
arXiv:1412.5335; the shape is that of a wide and deep model, Cheng et al. 2016, arXiv:1606.07792). The LSTM is trained
by itself: the linear model knows the training reviews by heart and would leave it nothing to learn. Sentences, in
which one "not" turns everything, are read by an LSTM of their own.
"""

from typing import Any

import keras
import numpy as np

from modelyard import (
    Baseline,
    Card,
    Gate,
    ModelSpec,
    PreparedData,
    Splits,
    State,
    TextInput,
    choice,
    linear_range,
    log_range,
)
from modelyard.models.datasets.imdb import IMDB, LABELS, sample
from modelyard.models.errors import InvalidRecipe
from modelyard.models.text import review_data
from modelyard.models.text.fused_lstm import FusedLSTM
from modelyard.models.text.hashed_ngrams import find_starts, index_hashed
from modelyard.models.text.ngram_vote import NgramVote
from modelyard.models.text.ngrams import NgramModel, fit_linear
from modelyard.models.text.parts import HasWord, HeadAndTail, ShortOnly, WeighParts, WordVectors, turning_ids
from modelyard.models.text.review_data import SentimentRecipe
from modelyard.models.text.unlabelled import VirtuallyAdversarial, read_steps, restore_language
from modelyard.models.text.vocabulary import (
    FIRST_WORD,
    PAD_MULTIPLE,
    PADDING,
    encode,
    learn_vocabulary,
    make_vectoriser,
)

SENTENCE, REVIEW = 24, 64
"""Words of a text up to which one LSTM reads it alone, and from which on the other does; between them, both do."""
REVIEW_SHARE = 1 / 3
"""Of the reviews' LSTM, in a sentence without "not" and its like."""


def prepare(splits: Splits, recipe: SentimentRecipe) -> PreparedData:
    """Reviews and short texts, and what is learned from them before the network."""
    return review_data.prepare_reviews(splits, recipe, sample().train)


def prepare_with_state(splits: Splits, recipe: SentimentRecipe, state: State) -> PreparedData:
    """The same with what another version has learned."""
    return review_data.prepare_with_state(splits, recipe, state, sample().train)


def measure_baseline(splits: Splits) -> Baseline:
    """Test accuracy of the linear part by itself. It chooses nothing, so it learns validation, too."""
    labels = np.concatenate([splits.train.y, splits.validation.y])
    vocabulary, ids = learn_vocabulary([*splits.train.x, *splits.validation.x], 100_000, 2)
    index, features = index_hashed(ids)
    margins = fit_linear(features, labels).margins(index.features(encode(splits.test.x, vocabulary)))
    accuracy = float(np.mean((margins > 0) == (splits.test.y == 1)))
    return Baseline("linear SVM on runs of one to three words, weighted by naive Bayes", accuracy)


# --- model --------------------------------------------------------------------------------------------------------


def build(recipe: SentimentRecipe, state: State) -> Any:
    """``int32 [N,L]``, ``L`` a multiple of ``PAD_MULTIPLE`` -> probability that the review is positive, ``[N,1]``.

    Padding is blanked before the convolution and masked after it: an answer does not depend on the rest of the batch.
    """
    if PAD_MULTIPLE % recipe.stride:
        raise InvalidRecipe(f"recipe key 'stride': expected a divisor of {PAD_MULTIPLE}, received {recipe.stride}")
    layers, ops = keras.layers, keras.ops
    vectors, linear = state["vectors"], NgramModel.from_state(state)
    whole = keras.Input((None,), dtype="int32", name="ids")
    embed = WordVectors(len(vectors), vectors.shape[1], len(state["learned"]), name="vectors")
    marks = FIRST_WORD + np.flatnonzero(np.isin(state["vocabulary"], ["!", "?"]))
    known = _share_of_known_words(whole, marks.tolist())
    length = ops.sum(ops.cast(whole != PADDING, "float32"), axis=1, keepdims=True)
    long = ops.clip((length - SENTENCE) / (REVIEW - SENTENCE), 0.0, 1.0)
    ids = HeadAndTail(recipe.max_tokens, unread=SENTENCE, name="head_and_tail")(whole)
    embedded = embed(ids)
    review = _read_review(embedded, ids, recipe)
    sentence = _read_sentence(ShortOnly(REVIEW, name="sentence")(whole), embed, recipe)
    short_log_odds = layers.Dense(1, name="short_log_odds")(sentence)
    log_odds = of_review = layers.Dense(1, name="log_odds")(ops.concatenate([review, 1.0 - known], axis=-1))
    turned = HasWord(turning_ids(state["vocabulary"]), name="turned")(whole)
    log_odds = WeighParts(REVIEW_SHARE, name="parts")(log_odds, short_log_odds, long, turned)
    if recipe.ngram_share:
        vote = NgramVote(len(linear.index.codes), recipe.ngram_share, linear.index.orders, name="ngrams")
        log_odds = vote(log_odds, whole, turned)
    log_odds = log_odds * ops.clip(2.0 * known - 0.5, 0.0, 1.0)  # who knows no word has no opinion
    positive = layers.Activation("sigmoid", name="positive")(log_odds)
    if recipe.adversarial:
        model = VirtuallyAdversarial(whole, positive, name="sentiment_lstm")
        model.disturb(whole, embedded, [ids, known], of_review, weight=recipe.adversarial, distance=recipe.distance)
    else:
        model = keras.Model(whole, positive, name="sentiment_lstm")
    embed.fill(vectors, state["learned"])
    restore_language(model, state)
    if recipe.ngram_share:
        vote.set_weights([codes := linear.index.codes, find_starts(codes), linear.table, np.array(linear.bias)])
    return model


def _read_review(embedded: Any, ids: Any, recipe: SentimentRecipe) -> Any:
    """What a convolution over phrases and an LSTM over them make of a long text: ``float [N,4*units]``."""
    layers = keras.layers
    x = layers.Dropout(recipe.word_dropout, noise_shape=(None, None, 1), name="word_dropout")(embedded)
    x = layers.SpatialDropout1D(recipe.vector_dropout, name="vector_dropout")(x)
    sizes = {"filters": recipe.filters, "kernel_size": recipe.kernel_size, "stride": recipe.stride}
    x, steps = read_steps(x, ids, units=recipe.units, **sizes)
    return layers.Dropout(recipe.dropout, name="dropout")(_pool(x, steps))


def _read_sentence(ids: Any, embed: Any, recipe: SentimentRecipe) -> Any:
    """What an LSTM that reads each word makes of a short text, in which "not" counts: ``float [N,4*short_units]``."""
    layers, ops = keras.layers, keras.ops
    words = ids != PADDING
    x = layers.SpatialDropout1D(recipe.vector_dropout / 2, name="short_vector_dropout")(embed(ids))
    x = x * ops.cast(words, "float32")[:, :, None]
    x = layers.Conv1D(recipe.short_units, 3, padding="same", activation="relu", name="short_phrases")(x)
    x = layers.Bidirectional(FusedLSTM(recipe.short_units, return_sequences=True), name="short_lstm")(x, mask=words)
    return layers.Dropout(recipe.dropout / 2, name="short_dropout")(_pool(x, words))


def _pool(x: Any, steps: Any) -> Any:
    """Mean and maximum over the steps that are no padding: ``float [N,T,C]`` within -1..1 -> ``float [N,2*C]``."""
    ops = keras.ops
    kept = ops.cast(steps, "float32")[:, :, None]
    mean = ops.sum(x * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1.0)
    peak = ops.max(x * kept - 2.0 * (1.0 - kept), axis=1)  # below any LSTM output
    return ops.concatenate([mean, peak], axis=-1)


def _share_of_known_words(ids: Any, marks: list[int]) -> Any:
    """``int32 [N,L]`` -> ``float [N,1]``, 0 if there is no word; marks are no words."""
    ops = keras.ops
    word = ids != PADDING
    for mark in marks:
        word = word & (ids != mark)
    known, words = (
        ops.sum(ops.cast(which, "float32"), axis=1, keepdims=True) for which in (word & (ids >= FIRST_WORD), word)
    )
    return known / ops.maximum(words, 1.0)


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
            batch_size=48,
            optimizer="adam",
            learning_rate=6e-3,
            clip_norm=1.0,
            keep="last",
            min_steps=60,
            vocabulary_size=20_000,
            unlabelled=10_000,
            max_tokens=256,
            ngram_share=0.6,
            pieces=1.0,
            contrasts=0.5,
            statements=3.0,
            written=3,
        ),
        "full": SentimentRecipe(
            epochs=5,
            batch_size=64,
            optimizer="adam",
            learning_rate=2.5e-3,
            clip_norm=1.0,
            keep="last",
            min_steps=60,
            contexts=10_000,
            unlabelled=50_000,
            soft_labels=50_000,
            soft_weight=0.33,
            teacher_share=0.3,
            longest_run=4,
            ngram_share=0.6,
            pieces=2.0,
            contrasts=1.0,
            statements=3.0,
            written=4,
        ),
        "gpu": SentimentRecipe(
            epochs=4,
            batch_size=128,
            optimizer="adam",
            learning_rate=1e-3,
            clip_norm=1.0,
            keep="last",
            min_steps=60,
            contexts=10_000,
            unlabelled=50_000,
            soft_labels=50_000,
            teacher_share=0.3,
            pieces=2.0,
            contrasts=1.0,
            statements=3.0,
            written=4,
            filters=256,
            kernel_size=1,
            stride=1,
            units=512,
            language_epochs=4,
            adversarial=1.0,
            learned_words=30_000,
        ),
    },
    gate=Gate(metric="accuracy", floor=0.90, sample_floor=0.60, max_drop=0.01, max_ece=0.02),
    prepare=prepare,
    prepare_with_state=prepare_with_state,
    build=build,
    baseline=measure_baseline,
    feature_layer="log_odds",
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
            "Of short sentences with a negation about one in five is misread, of twenty words of a review one in four.",
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
