"""The whole recipe of a job: its own values beside the defaults of the recipe that it names."""

from collections.abc import Mapping
from typing import Any

from modelyard.models.catalog import Catalog
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.ledger import Job, JobOptions

OPTIONS = ("data", "rollout", "priority", "budget_s", "with_feedback")
"""Of a job, beside its recipe."""


class RecipeValue(Body):
    """One value."""

    key: str
    value: Any
    default: Any
    differs: bool
    """From the default."""
    description: str


class JobRecipe(Body):
    """What differs from the defaults stands first; ``options`` are the job's own, beside the recipe."""

    recipe: str
    known: bool
    """Whether the model and its recipe still exist; if not, only what the job itself named is in here."""
    values: list[RecipeValue]
    options: list[RecipeValue]


def read_recipe(job: Job, catalog: Catalog | None) -> JobRecipe:
    """The recipe with the values of the present catalog, and the job's overrides."""
    trainable = catalog.trainable.get(job.model) if catalog else None
    fields = trainable.recipes.get(job.recipe) if trainable else None
    known = {
        key: (found.default, str(found.constraints.get("description", ""))) for key, found in (fields or {}).items()
    }
    overrides: Mapping[str, Any] = job.overrides
    values = [_describe(key, overrides.get(key, default), default, text) for key, (default, text) in known.items()]
    values += [_describe(key, value, None, "") for key, value in overrides.items() if key not in known]
    options = [_describe(name, getattr(job, name), JobOptions.model_fields[name].get_default(), "") for name in OPTIONS]
    return JobRecipe(
        recipe=job.recipe,
        known=fields is not None,
        values=sorted(values, key=lambda value: not value.differs),
        options=sorted(options, key=lambda value: not value.differs),
    )


def _describe(key: str, value: Any, default: Any, description: str) -> RecipeValue:
    differs = str(value) != str(default)  # a text from the command line is the number that it says
    return RecipeValue(key=key, value=value, default=default, differs=differs, description=description)
