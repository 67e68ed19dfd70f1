"""Which customers leave?"""

from modelyard import ModelSpec, table

SPEC = ModelSpec(dataset=table("../data/churn.csv", target="churned"))
