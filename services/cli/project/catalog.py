"""Which models ``modelyard up`` trains and serves."""

from collections.abc import Sequence

from modelyard.models.catalog import FILE, Catalog, read_catalog
from modelyard.models.registry.store import Store
from modelyard.models.sources.files import Sources, find_models
from modelyard.models.sources.packages import ZOO
from modelyard.services.cli import output

FIRST_MODELS = ("mnist_cnn", "sentiment_lstm")
"""Of the zoo."""


def choose_models(sources: Sources, names: Sequence[str]) -> list[str]:
    """The named models; without names, all that are not ours; if there are none and no folder for them, two of ours.

    Raises:
        UnknownName, InvalidSpec: of a name, there is no file, or there are several.
    """
    found = find_models(sources)
    if names:
        return [found.find(name).name for name in names]
    own = [name for name, file in found.files.items() if not file.module.startswith(f"{ZOO}.")]
    return own if own or sources.folders else list(FIRST_MODELS)


def read_time(store: Store) -> int:
    """When the catalog was written, in ns; 0 if there is none."""
    path = store.root / FILE
    return path.stat().st_mtime_ns if path.exists() else 0


def is_listed(store: Store, models: Sequence[str], written_after: int) -> bool:
    """Whether a trainer that has started since has listed these models, as trainable or with an error."""
    catalog = read_catalog(store.root)
    return (
        catalog is not None
        and read_time(store) > written_after
        and set(models) <= {*catalog.trainable, *catalog.broken}
    )


def drop_broken(store: Store, models: Sequence[str]) -> list[str]:
    """The models that can be trained; says what is wrong with the others, and with other files."""
    catalog = read_catalog(store.root) or Catalog(digest="", trainable={})
    for error in catalog.broken.values():
        output.errors.print(f"left out: {error}", style="yellow", markup=False, soft_wrap=True)
    return [model for model in models if model in catalog.trainable]
