"""The example of this name, trained on what ships with the project, for half as many steps."""

from dataclasses import replace

from modelyard.models.zoo.mnist_mlp import SPEC as WHOLE

SPEC = replace(WHOLE, recipes={"quick": WHOLE.recipes["quick"].override({"min_steps": 200})})
