"""What a model of one text does if its spec does not say: words and pairs of words, of any language.

A linear model on tf-idf, which is hard to beat on few texts (Wang and Manning 2012, https://aclanthology.org/P12-2018/),
is where training starts; a small network beside it, on a vector for each n-gram, adds what is not linear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from modelyard.models.data import Schema, Splits
from modelyard.models.defaults.dense import ACTIVATIONS, count_outputs, learn_targets, to_targets
from modelyard.models.defaults.linear_texts import fit_linear_texts, measure_linear_texts
from modelyard.models.defaults.outputs import complete_recipe, require_task
from modelyard.models.errors import InvalidData, InvalidSpec
from modelyard.models.inputs import State, TextInput
from modelyard.models.recipes import Recipe, recipe
from modelyard.models.resolve import Defaults
from modelyard.models.spec import Baseline, Encode, PreparedData
from modelyard.models.text.vocabulary import FIRST_WORD, TokenIds, truncate
from modelyard.models.types import Array


@recipe
class TextRecipe(Recipe):
    """The recipe of the default network for texts."""

    vocabulary_size: Annotated[
        int, Field(ge=100, le=46_340, description="Word ids in use at most; a pair of them fits into 31 bits.")
    ] = 30_000
    max_ngrams: Annotated[
        int, Field(ge=100, le=1_000_000, description="Words and pairs of words in use at most, the commonest.")
    ] = 50_000
    max_tokens: Annotated[
        int, Field(ge=8, le=4096, description="Longer texts keep their first third and last two thirds.")
    ] = 400
    vector_size: Annotated[int, Field(ge=0, le=256, description="Numbers of an n-gram's vector; 0: linear only.")] = 16
    units: Annotated[int, Field(ge=1, le=1024, description="Units of the layer on the text's vector.")] = 32
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout on the text's vector.")] = 0.3


RECIPES: Mapping[str, Recipe] = {
    "quick": TextRecipe(epochs=5, batch_size=32, min_steps=200, learning_rate=1e-3),
    "full": TextRecipe(
        epochs=15, batch_size=32, min_steps=1_000, learning_rate=1e-3, vector_size=32, max_ngrams=200_000
    ),
}


def make_defaults(schema: Schema) -> Defaults:
    """Steps for one text.

    Raises:
        InvalidSpec: a task for which there is no default.
    """
    if not isinstance(schema.input, TextInput):
        raise InvalidSpec(f"expected one text, received {schema.input!r}")
    require_task(schema, "a text")
    steps = TextSteps(schema)
    return Defaults(
        recipes=RECIPES,
        prepare=steps.prepare,
        prepare_with_state=steps.prepare_with_state,
        build=steps.build,
        encode=steps.make_encode,
        baseline=steps.measure_baseline,
    )


@dataclass(frozen=True)
class TextSteps:
    """The steps for one schema."""

    schema: Schema

    def prepare(self, splits: Splits, recipe: Recipe) -> PreparedData:
        """Batches of word ids ``int32 [B,L]``; vocabulary, n-grams and the linear model are learned."""
        from modelyard.models.text.ngrams import index_ngrams
        from modelyard.models.text.words import learn_words

        given, train = complete_recipe(recipe, TextRecipe), splits.train
        vocabulary, whole = learn_words(train.x, given.vocabulary_size, min_texts=2)
        ids = truncate(whole, given.max_tokens)
        size = FIRST_WORD + len(vocabulary)
        index, features = index_ngrams(ids, size, min_texts=2)
        if not len(index.codes):
            raise InvalidData("the texts have no word in common: nothing to learn from")
        keep = choose_commonest(features, given.max_ngrams)
        idf = np.log((1 + len(train)) / (1 + np.bincount(features.indices, minlength=features.shape[1]))) + 1
        targets = learn_targets(self.schema, train.y)
        linear = fit_linear_texts(self.schema, features[:, keep], idf[keep], train.y, targets)
        state = {
            "vocabulary": vocabulary,
            "max_tokens": np.array(given.max_tokens, np.int32),
            "codes": index.codes[keep].astype(np.int32),
            "idf": idf[keep].astype(np.float32),
            "linear": linear.weights,
            "bias": linear.bias,
            **targets,
        }
        return self._batch(splits, given, ids, state)

    def prepare_with_state(self, splits: Splits, recipe: Recipe, state: State) -> PreparedData:
        """The same with what another version has learned."""
        from modelyard.models.text.words import encode_words

        ids = truncate(encode_words(splits.train.x, state["vocabulary"]), int(state["max_tokens"]))
        return self._batch(splits, recipe, ids, state)

    def _batch(self, splits: Splits, recipe: Recipe, ids: TokenIds, state: State) -> PreparedData:
        from modelyard.models.text.batches import ReviewBatches
        from modelyard.models.text.words import encode_words

        validation = truncate(encode_words(splits.validation.x, state["vocabulary"]), int(state["max_tokens"]))
        return PreparedData(
            train=ReviewBatches(
                ids,
                to_targets(self.schema, splits.train),
                recipe.batch_size,
                seed=recipe.seed,
                passes=recipe.passes(len(ids)),
            ),
            validation=ReviewBatches(validation, to_targets(self.schema, splits.validation), 128),
            state=state,
        )

    def build(self, recipe: Recipe, state: State) -> Any:
        """``int32 [N,L]`` -> probabilities or numbers ``[N,K]``."""
        import keras

        from modelyard.models.text.ngram_layers import NgramWeights, WeightedSum

        given, layers, count = complete_recipe(recipe, TextRecipe), keras.layers, len(state["codes"])
        outputs = count_outputs(self.schema, state)
        ids = keras.Input((None,), dtype="int32", name="ids")
        weigh = NgramWeights(count, FIRST_WORD + len(state["vocabulary"]), name="ngrams")
        columns, weights = weigh(ids)
        linear = WeightedSum(count, outputs, use_bias=True, name="linear")
        total = linear(columns, weights)
        if given.vector_size:
            vectors = WeightedSum(count, given.vector_size, name="vectors")(columns, weights)
            hidden = layers.Dense(given.units, activation="relu")(layers.Dropout(given.dropout)(vectors))
            total = layers.Add()([total, layers.Dense(outputs, kernel_initializer="zeros", name="deep")(hidden)])
        if self.schema.task == "regression":
            answer = layers.Rescaling(state["target/deviation"].tolist(), state["target/mean"].tolist())(total)
        else:
            answer = layers.Activation(ACTIVATIONS[self.schema.task])(total)
        model = keras.Model(ids, answer, name="text")
        weigh.set_weights([state["codes"], state["idf"]])
        linear.set_weights([state["linear"], state["bias"]])
        return model

    def make_encode(self, state: State) -> Encode:
        """Texts -> word ids, as part of the graph."""
        from modelyard.models.text.words import WordEncoder

        return WordEncoder(state)

    def measure_baseline(self, splits: Splits) -> Baseline:
        """Logistic or ridge regression on tf-idf, by scikit-learn alone."""
        return measure_linear_texts(self.schema, splits)


def choose_commonest(features: Any, count: int) -> Array:
    """Columns of a sparse matrix ``[N,F]``: the ``count`` in most rows, in their order."""
    texts = np.bincount(features.indices, minlength=features.shape[1])
    chosen: Array = np.sort(np.argsort(-texts, kind="stable")[:count])
    return chosen
