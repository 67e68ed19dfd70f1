"""A table whose every name has markup in it: titles of columns, classes and what the model is for."""

from modelyard import ModelSpec, Recipe, table

SPEC = ModelSpec(
    summary="Which <b>cultivar</b> is a wine & from where?",
    dataset=table("../data/wine.csv", "cultivar"),
    recipes={"quick": Recipe(epochs=5, batch_size=32, min_steps=200, learning_rate=1e-2, keep="last")},
    explain=False,
)
