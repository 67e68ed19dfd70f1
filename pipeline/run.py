"""One training job from top to bottom: data, train, export, evaluate, gate, publish, rollout.

``run_job`` takes plain values and callbacks; it knows neither queue nor database.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import orjson

from modelyard.models.catalog import resolve_recipe
from modelyard.models.check_spec import check_spec
from modelyard.models.errors import StorageFailed
from modelyard.models.inputs import TENSOR_NAMES, name_inputs
from modelyard.models.metrics import list_metrics
from modelyard.models.recipes import Recipe
from modelyard.models.registry.evaluations import MISTAKES_FILE, keep_rejected
from modelyard.models.registry.manifest import Manifest, NamedLimits
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.storage_errors import translate_storage_errors
from modelyard.models.registry.store import Store, replace_file
from modelyard.models.resolve import inspect_data, resolve
from modelyard.models.sources.files import find_models
from modelyard.models.sources.loading import LoadedModel, load_model
from modelyard.models.spec import Baseline, ModelSpec, PreparedData
from modelyard.pipeline.calibrating.examples import hold_back
from modelyard.pipeline.code_revision import hash_sources, read_code_revision
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.fitting.warm_start import find_start_version
from modelyard.pipeline.job import JobLocations, Measured, Outcome, Promotion, Published, Rejected, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import Evaluation, Evaluations, LoadedDataset
from modelyard.pipeline.stages.check_data import check_data
from modelyard.pipeline.stages.data import load_dataset
from modelyard.pipeline.stages.evaluate import evaluate
from modelyard.pipeline.stages.export import export
from modelyard.pipeline.stages.feedback import add_feedback
from modelyard.pipeline.stages.gate import Champion, judge
from modelyard.pipeline.stages.promote import promote, start_canary
from modelyard.pipeline.stages.publish import describe_environment, publish
from modelyard.pipeline.stages.rehearse import rehearse
from modelyard.pipeline.stages.train import train


@translate_storage_errors()
def run_job(
    job: TrainingJob,
    locations: JobLocations,
    forks: ForkServer,
    report: Report,
    require_permission: Callable[[], None] = lambda: None,
) -> Outcome:
    """Trains a model, and publishes and promotes it if the gate accepts it.

    Args:
        forks: where export and evaluation run.
        report: called with progress. It may raise ``Cancelled``, and so may the next.
        require_permission: called before the version goes into the store, and before it gets a role: an attempt that
            stood still meanwhile may have lost the job.

    Raises:
        ModelyardError: any expected failure; no partial version is left, and serving versions are not touched.
        Cancelled: as raised by a callback.
    """
    loaded = load_model(find_models(locations.models).find(job.model))
    given, code = loaded.spec, read_code_revision(loaded)
    spec, recipe = resolve_at_a_glance(given, job)
    devices = prepare_devices(recipe)
    store = locations.open_store()
    store.prepare()
    if job.job and (published := store.find_version_of(spec.name, job.job)):
        require_permission()  # the ledger records that the job is published
        return roll_out(published, store, job, locations, report)
    spec, data = load_data(given, job, locations, report)
    with make_workspace(locations.work, job.name) as work, store.staging(spec.name, job.name) as staged:
        checkpoints = choose_checkpoint_folder(job, locations, loaded, data, work)
        start = find_start_version(store, spec.name, recipe, checkpoints)

        def rehearse_fit(prepared: PreparedData) -> None:
            passed, splits = locations.rehearsed, data.splits
            rehearse(loaded, spec, job.recipe, recipe, prepared, splits, passed, work, forks, report, fits=False)

        fitted, calibration = hold_back(spec, data.splits, recipe)
        trained = train(spec, fitted, recipe, devices, work, checkpoints, report, start, rehearse_fit)
        if job.rollout == "none":
            require_permission()
            return Measured(trained.validation)
        source = loaded.save(work / "model.json")
        export(spec, source, job.recipe, recipe, trained, data.splits, calibration, staged, forks, report)
        champion = find_champion(store, spec.name)
        comparable = champion if champion and not describe_change(champion, spec) else None
        serving = store.path(spec.name, comparable.version) if comparable else None
        evaluations = evaluate(spec, source, data.splits.test, data.recent, staged, serving, work, forks, report)
        verdict = judge(
            spec.gate,
            data.source,
            evaluations.challenger.metrics.get(spec.gate.metric),
            describe_champion(spec, champion, evaluations),
            direction=list_metrics(spec.task, spec.metrics)[spec.gate.metric],
            simplest=evaluations.simplest,
            ece=evaluations.challenger.metrics.get("ece"),
        )
        verdict = verdict.model_copy(
            update={"reasons": (*verdict.reasons, *describe_rest(spec, champion, data, evaluations))}
        )
        report(Progress("gate", message="; ".join(verdict.reasons), metrics=evaluations.challenger.metrics))
        if not verdict.accepted:
            keep_evaluation(store, spec, job, evaluations.challenger, staged)
            return Rejected(verdict, evaluations.challenger.metrics)
        baseline = measure_baseline(spec, data, locations.work / "baselines", report)
        require_permission()
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
            environment=describe_environment(devices.label, code),
            job=job.job,
            attempt=job.attempt,
        )
    require_permission()
    return roll_out(manifest, store, job, locations, report)


def resolve_at_a_glance(given: ModelSpec, job: TrainingJob) -> tuple[ModelSpec, Recipe]:
    """The spec as far as a glance at its data tells, checked, and the job's recipe.

    Raises:
        InvalidSpec: its parts do not fit together.
        InvalidRecipe: an unknown recipe, an unknown key or a value out of range.
    """
    spec = resolve(given, inspect_data(given))
    check_spec(spec)
    return spec, resolve_recipe(spec, job.recipe, job.overrides)


def load_data(
    given: ModelSpec, job: TrainingJob, locations: JobLocations, report: Report
) -> tuple[ModelSpec, LoadedDataset]:
    """The data with the job's feedback, and the spec with all that the data tells."""
    data = load_dataset(given.dataset, job.data, choose_data_folder(given, locations), report)
    spec = resolve(given, data.splits.schema)
    check_spec(spec)
    data = replace(data, card=check_data(spec, data.splits, data.fingerprint, report))
    return spec, add_feedback(data, spec, job.feedback, report) if job.feedback else data


def choose_data_folder(spec: ModelSpec, locations: JobLocations) -> Path:
    """The folder of the model's file, for the user's own data; else the folder of datasets."""
    return spec.file.parent if spec.dataset.own and spec.file else locations.data


def describe_champion(spec: ModelSpec, champion: Manifest | None, evaluations: Evaluations) -> Champion | None:
    """The serving version as the gate compares with it."""
    if champion is None or champion.data is None:
        return None
    measured = evaluations.champion
    value = measured.metrics.get(spec.gate.metric) if measured else None
    return Champion(champion.version, value, champion.data.source)


def describe_rest(
    spec: ModelSpec, champion: Manifest | None, data: LoadedDataset, evaluations: Evaluations
) -> Iterator[str]:
    """What the decision record says beside the gate's reasons."""
    if champion and (change := describe_change(champion, spec)):
        yield f"not compared with version {champion.version}, which has {change}"
    yield from data.splits.notes
    yield from describe_feedback_metrics(data, evaluations)


def describe_change(champion: Manifest, spec: ModelSpec) -> str:
    """Why the serving version cannot be measured on this model's test data; empty if it can."""
    if champion.task != spec.task:
        return f"the task {champion.task}"
    if champion.labels != spec.labels:
        return f"the labels {', '.join(champion.labels)}" if champion.labels else "no labels"
    old, new = list_tensors(champion), {name: kind.kind for name, kind in name_inputs(spec.input).items()}
    return f"the inputs {', '.join(old)}" if old != new else ""


def list_tensors(manifest: Manifest) -> dict[str, str]:
    """A version's inputs by name, with their kinds; of an imported one, of no kind."""
    if isinstance(manifest.input, NamedLimits):
        return {name: limits.kind for name, limits in manifest.input.inputs.items()}
    if manifest.input is None:
        return dict.fromkeys((tensor.name for tensor in manifest.signatures["serving_default"].inputs), "")
    return {TENSOR_NAMES[manifest.input.kind]: manifest.input.kind}


def describe_feedback_metrics(data: LoadedDataset, evaluations: Evaluations) -> Iterator[str]:
    """Metrics of both versions on the newest feedback, as text; the gate does not use them."""
    champion = evaluations.champion.recent if evaluations.champion else {}
    for name, value in evaluations.challenger.recent.items():
        serving = f", of the serving version {champion[name]:.4f}" if name in champion else ""
        yield f"{name} {value:.4f} on the newest {len(data.recent or ())} answers with feedback{serving}"


def choose_checkpoint_folder(
    job: TrainingJob, locations: JobLocations, loaded: LoadedModel, data: LoadedDataset, work: Path
) -> Path:
    """Folder for checkpoints: shared by a job's attempts that see the same model and data; else of this run alone."""
    if not job.job:
        return work / "checkpoints"
    return locations.checkpoints(job.job) / f"{data.fingerprint[:16]}-{hash_sources(loaded.sources)[-8:]}"


def keep_evaluation(store: Store, spec: ModelSpec, job: TrainingJob, evaluation: Evaluation, staged: Path) -> None:
    """Keeps what was measured of a rejected job: there its mistakes are wanted most."""
    if job.job:
        content = evaluation.model_dump(exclude={"reference"}) | {"labels": spec.labels}
        mistakes = (staged / MISTAKES_FILE).read_bytes()
        keep_rejected(store, spec.name, job.job, orjson.dumps(content), mistakes)


def roll_out(manifest: Manifest, store: Store, job: TrainingJob, locations: JobLocations, report: Report) -> Published:
    """Gives a published version its role. A disk error does not undo the publication."""
    if job.rollout == "manual":
        return Published(manifest, Promotion(False, "left for a person to promote"))
    give_role = start_canary if job.rollout == "canary" and read_rollout(store, manifest.model).stable else promote
    try:
        with translate_storage_errors():
            given = give_role(store, manifest, locations.serving, by=job.by, report=report, tls=locations.tls)
            return Published(manifest, given)
    except StorageFailed as error:
        return Published(manifest, Promotion(False, str(error)))


def find_champion(store: Store, model: str) -> Manifest | None:
    """The manifest of the stable version; None of an imported one, whose signatures are its own."""
    stable = read_rollout(store, model).stable
    found = store.manifest(model, stable) if stable is not None else None
    return found if found and found.imported is None else None


def measure_baseline(spec: ModelSpec, data: LoadedDataset, cache: Path, report: Report) -> Baseline | None:
    """The baseline's result on this data; computed once per dataset, as it does not depend on the recipe."""
    if spec.baseline is None:
        return None
    path = cache / f"{spec.name}-{data.fingerprint[:16]}.json"
    if path.exists():
        return Baseline(**json.loads(path.read_bytes()))
    report(Progress("publish", message="measuring the baseline (once per dataset)"))
    found = spec.baseline(data.splits)
    replace_file(path, json.dumps(asdict(found)).encode())
    return found


@contextmanager
def make_workspace(root: Path, name: str) -> Iterator[Path]:
    """A temporary folder for one job's files; deleted afterwards, however the job ended."""
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
