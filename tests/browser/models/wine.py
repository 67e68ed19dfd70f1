"""A table whose every name has markup in it: titles of columns, classes and what the model is for."""

from modelyard import ModelSpec, table

SPEC = ModelSpec(
    summary="Which <b>cultivar</b> is a wine & from where?",
    dataset=table("../data/wine.csv", "cultivar"),
    explain=False,
)
