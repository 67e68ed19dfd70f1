"""Is a review good or bad?"""

from modelyard import ModelSpec, texts

SPEC = ModelSpec(dataset=texts("../data/reviews.csv", text="text", label="label"))
