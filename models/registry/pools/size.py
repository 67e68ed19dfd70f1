"""How much memory a version takes in a model server, from the sizes of its files."""

from pathlib import Path

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import VersionSize
from modelyard.models.registry.store import Store

MB = 1 << 20
GRAPH, PARAMETERS, ASSETS = "saved_model.pb", "variables", "assets"
DISK_SHARE = 1.2
"""Memory over bytes on disk of parameters and assets: what TensorFlow Serving itself reckons with
(``kResourceEstimateRAMMultiplier``, servables/tensorflow/bundle_factory_util.cc)."""
GRAPH_SHARE = 25.0
"""Of the graph, which is kept parsed, optimised, and once more for each signature that runs, with the weights that are
constants in it: by what our model server grew by (``benchmarks.version_memory``)."""
BASE_BYTES = 16 * MB
"""Of a session: threads, kernels, and what its first runs leave behind; measured likewise."""


def measure_size(folder: Path) -> VersionSize:
    """Of a version's folder, published or not; what is beside the model in ``assets.extra`` is not loaded."""
    graph = folder / GRAPH
    return VersionSize(
        parameters=_sum_files(folder / PARAMETERS),
        graph=graph.stat().st_size if graph.exists() else 0,
        assets=_sum_files(folder / ASSETS),
    )


def estimate_memory(size: VersionSize) -> int:
    """Megabytes that a server takes for a version, in whole ones: sums of them add up as they are printed."""
    loaded = BASE_BYTES + DISK_SHARE * (size.parameters + size.assets) + GRAPH_SHARE * size.graph
    return -int(-loaded // MB)


def find_memory(store: Store, model: str, version: int, *, anywhere: bool = False) -> int:
    """Megabytes of a published version; by its files where its manifest does not say, 0 where it is not here.

    ``anywhere``: of one that is on other machines only, too; that may ask a bucket.
    """
    try:
        size = (store.find_manifest if anywhere else store.manifest)(model, version).size
    except ModelyardError:
        size = None
    folder = store.path(model, version)
    if size is None and not folder.is_dir():
        return 0
    return estimate_memory(size or measure_size(folder))


def _sum_files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
