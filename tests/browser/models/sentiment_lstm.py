"""The example of this name, trained on what ships with the project; small, as every test waits for it."""

from dataclasses import replace

from modelyard.models.zoo.sentiment_lstm import SPEC as WHOLE

SMALL = {"max_tokens": 48, "batch_size": 64, "vector_size": 16, "filters": 16, "units": 8}
SPEC = replace(WHOLE, recipes={"quick": WHOLE.recipes["quick"].override(SMALL)})
