"""Which of three cultivars is a wine from?"""

from modelyard import ModelSpec, table

SPEC = ModelSpec(dataset=table("../data/wine.csv", target="cultivar"))
