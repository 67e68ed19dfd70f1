"""One training job from top to bottom: data, train, export, evaluate, gate, publish, rollout.

``run`` takes plain values and callbacks; it does not know who called it.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from modelyard.models import catalog
from modelyard.models.errors import CorruptData, StorageFailed
from modelyard.models.registry import rollout
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.store import Store, replace_file
from modelyard.models.spec import Baseline, ModelSpec
from modelyard.pipeline.devices import prepared
from modelyard.pipeline.errors import storage_errors
from modelyard.pipeline.forkserver import ForkServer
from modelyard.pipeline.job import Measured, Outcome, Place, Promotion, Published, Rejected, Run
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import Evaluations, Loaded
from modelyard.pipeline.stages import data as datasets
from modelyard.pipeline.stages.evaluate import evaluate
from modelyard.pipeline.stages.export import export
from modelyard.pipeline.stages.feedback import join
from modelyard.pipeline.stages.gate import judge
from modelyard.pipeline.stages.promote import promote, start_canary
from modelyard.pipeline.stages.publish import environment, publish
from modelyard.pipeline.stages.train import train
from modelyard.pipeline.warm_start import start_of


@storage_errors()
def run(
    job: Run, place: Place, forks: ForkServer, report: Report, before_publishing: Callable[[], None] = lambda: None
) -> Outcome:
    """Trains a model, and publishes and promotes it if the gate lets it through.

    Args:
        forks: where export and evaluation run.
        report: is told how it goes. It may raise ``Cancelled``, and so may the next.
        before_publishing: is asked last; afterwards the version goes into the store.

    Raises:
        ModelyardError: whatever went wrong; nothing half-written stays behind and what serves is untouched.
        Cancelled: likewise.
    """
    spec = catalog.load(job.model)
    recipe = catalog.recipe_of(spec, job.recipe, job.overrides)
    devices = prepared(recipe)
    store = Store(place.store)
    store.prepare()
    if job.job and (published := version_of(store, spec.name, job.job)):
        before_publishing()  # it may be promoted now; and who asked for it is told of success by way of this
        return settled(published, store, job, place, report)
    data = datasets.load(spec.dataset, job.data, place.data, report)
    if job.feedback:
        data = join(data, spec, job.feedback, report)
    with workspace(place.work, job.name) as work, store.staging(spec.name, job.name) as staged:
        checkpoints = checkpoints_of(job, place, data, work)
        start = start_of(store, spec.name, recipe, checkpoints)
        trained = train(spec, data.splits, recipe, devices, work, checkpoints, report, start)
        if job.rollout == "none":
            before_publishing()
            return Measured(trained.validation)
        export(spec, job.recipe, recipe, trained, data.splits.test, staged, forks, report)
        champion = champion_of(store, spec.name)
        serving = store.path(spec.name, champion.version) if champion else None
        evaluations = evaluate(spec, data.splits.test, data.recent, staged, serving, work, forks, report)
        verdict = judge(
            spec.gate,
            data.source,
            evaluations.challenger.metrics[spec.gate.metric],
            champion=champion.version if champion else None,
            champion_value=evaluations.champion.metrics[spec.gate.metric] if evaluations.champion else None,
            champion_source=champion.data.source if champion else None,
        )
        verdict = verdict.model_copy(update={"reasons": (*verdict.reasons, *remarks(data, evaluations))})
        report(Progress("gate", message="; ".join(verdict.reasons), metrics=evaluations.challenger.metrics))
        if not verdict.accepted:
            return Rejected(verdict, evaluations.challenger.metrics)
        baseline = baseline_of(spec, data, place.work / "baselines", report)
        before_publishing()
        report(Progress("publish", message="sealing the version"))
        manifest = publish(
            store,
            staged,
            spec=spec,
            recipe_name=job.recipe,
            recipe=recipe,
            data=data,
            trained=trained,
            evaluation=evaluations.challenger,
            baseline=baseline,
            verdict=verdict,
            environment=environment(devices.label),
            job=job.job,
        )
    return settled(manifest, store, job, place, report)


def remarks(data: Loaded, evaluations: Evaluations) -> Iterator[str]:
    """What the newest feedback says of both versions; the gate does not decide by it."""
    champion = evaluations.champion.recent if evaluations.champion else {}
    for name, value in evaluations.challenger.recent.items():
        serving = f", of the serving version {champion[name]:.4f}" if name in champion else ""
        yield f"{name} {value:.4f} on the newest {len(data.recent or ())} answers with feedback{serving}"


def checkpoints_of(job: Run, place: Place, data: Loaded, work: Path) -> Path:
    """Where training leaves its checkpoints: for all attempts of a job that see the same data; else for this run."""
    return place.checkpoints(job.job) / data.fingerprint[:16] if job.job else work / "checkpoints"


def version_of(store: Store, model: str, job: str) -> Manifest | None:
    """What an earlier attempt of this job published before it was lost."""
    for number in reversed(store.versions(model)):
        with contextlib.suppress(CorruptData):  # of another version: not this job's business
            if (manifest := store.manifest(model, number)).job == job:
                return manifest
    return None


def settled(manifest: Manifest, store: Store, job: Run, place: Place, report: Report) -> Published:
    """A published version, and whether it answers now: a disk that fails only now does not unmake it."""
    if job.rollout == "manual":
        return Published(manifest, Promotion(False, "left for a person to promote"))
    begin = start_canary if job.rollout == "canary" and rollout.read(store, manifest.model).stable else promote
    try:
        with storage_errors():
            return Published(manifest, begin(store, manifest, place.serving, by=job.by, report=report))
    except StorageFailed as error:
        return Published(manifest, Promotion(False, str(error)))


def champion_of(store: Store, model: str) -> Manifest | None:
    """The version that answers now."""
    stable = rollout.read(store, model).stable
    return store.manifest(model, stable) if stable is not None else None


def baseline_of(spec: ModelSpec, data: Loaded, remembered: Path, report: Report) -> Baseline | None:
    """The simple method's result on this data; computed once per dataset, as it does not depend on the recipe."""
    if spec.baseline is None:
        return None
    path = remembered / f"{spec.name}-{data.fingerprint[:16]}.json"
    if path.exists():
        return Baseline(**json.loads(path.read_bytes()))
    report(Progress("publish", message="measuring the linear baseline (once per dataset)"))
    found = spec.baseline(data.splits)
    replace_file(path, json.dumps(asdict(found)).encode())
    return found


@contextmanager
def workspace(root: Path, name: str) -> Iterator[Path]:
    """A folder for one job's files; gone afterwards, however the job ended."""
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
