"""The example of this name, trained for as long as its gate needs. No page shows why it answers so."""

from dataclasses import replace

from modelyard.models.zoo.neuron import SPEC as WHOLE

RECIPES = {**WHOLE.recipes, "quick": WHOLE.recipes["quick"].override({"epochs": 2})}
SPEC = replace(WHOLE, recipes=RECIPES, explain=False)
