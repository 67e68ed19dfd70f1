"""Checks a model in seconds, as a job does before its first epoch; trains and publishes nothing."""

from dataclasses import dataclass

from modelyard.models.sources.files import find_models
from modelyard.models.sources.loading import load_model
from modelyard.models.spec import ModelSpec
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.fitting.warm_start import prepare_data
from modelyard.pipeline.job import JobLocations, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Report
from modelyard.pipeline.results import LoadedDataset
from modelyard.pipeline.run import load_data, make_workspace, resolve_at_a_glance
from modelyard.pipeline.stages.rehearse import rehearse


@dataclass(frozen=True)
class CheckedModel:
    """A model that is fit to be trained, and its data."""

    spec: ModelSpec
    data: LoadedDataset


def check_model(job: TrainingJob, locations: JobLocations, forks: ForkServer, report: Report) -> CheckedModel:
    """Loads spec and data, and sends one batch through build, loss, export and reload.

    Raises:
        ModelyardError: what is wrong, with the file, row or field.
    """
    loaded = load_model(find_models(locations.models).find(job.model))
    spec, recipe = resolve_at_a_glance(loaded.spec, job, locations.pools)
    spec, data = load_data(loaded.spec, job, locations, report)
    with make_workspace(locations.work, job.name) as work, prepare_devices(recipe).scope():
        prepared = prepare_data(spec, data.splits, recipe, start=None)
        again = work / "again"
        rehearse(loaded, spec, job.recipe, recipe, prepared, data.splits, again, work, forks, report, fits=True)
    return CheckedModel(spec, data)
