"""Loads a version folder: verifies it, loads it with TensorFlow, and warms it up."""

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import orjson
import structlog

from modelyard.models.errors import ModelyardError
from modelyard.models.registry import manifest
from modelyard.models.registry.store import checksums
from modelyard.models.tfserving.messages import config_pb2, rewriter_config_pb2
from modelyard.services.modelserver.batching.batch_queue import BatchThreads
from modelyard.services.modelserver.batching.batched_run import add_batching
from modelyard.services.modelserver.batching.parameters import PER_MODEL_FILE, BatchingParameters, read_parameters
from modelyard.services.modelserver.errors import InvalidConfig, Refused
from modelyard.services.modelserver.lifecycle import tfrecord, warmup
from modelyard.services.modelserver.lifecycle.first_run import run_once
from modelyard.services.modelserver.lifecycle.priority import run_at_low_priority
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.runtime.saved_model import Runtime, load_saved_model
from modelyard.services.modelserver.runtime.servable import Servable
from modelyard.services.modelserver.runtime.tensorflow_c import TensorFlowC, library_path
from modelyard.services.modelserver.runtime.traced_run import trace_runs
from modelyard.services.modelserver.settings import Settings

CALLING_THREAD = -1
"""``RunOptions.inter_op_thread_pool``: run every operation in the thread that calls."""

log = structlog.get_logger()


def start_loader(settings: Settings) -> Load:
    """Loads the TensorFlow library and returns the function that loads versions with it.

    Raises:
        InvalidConfig: the batching parameters cannot be read or applied.
    """
    join = make_batching(settings)
    started = start_runtime(settings.intra_op_threads, settings.inter_op_threads)
    tags = settings.saved_model_tags.split(",")
    has_threads = False
    """Of TensorFlow, which the first load starts, with the niceness of its thread."""

    def load(folder: Path) -> Servable:
        nonlocal has_threads
        if has_threads:
            return run_at_low_priority(partial(load_now, folder))
        try:
            return load_now(folder)
        finally:
            has_threads = True

    def load_now(folder: Path) -> Servable:
        if not folder.is_dir():
            raise Refused(grpc.StatusCode.NOT_FOUND, "the version's folder does not exist")
        verify_manifest(folder)
        servable = trace_runs(load_saved_model(started, folder, tags))
        try:
            finish = _warm_up(servable, folder, settings)
            return replace(join(servable, folder), finish_warm_up=finish)
        except ModelyardError:
            servable.close()
            raise

    return load


def start_runtime(intra_op_threads: int, inter_op_threads: int) -> Runtime:
    """Loads the TensorFlow library.

    0 threads is our choice, made by measurement: one thread within an operation, and operations one after another in
    the thread of the call. Calls then run side by side on as many cores as there are, and none pays for hand-overs
    between threads (docs/decisions/0010). More threads serve a single large call sooner.

    Objects that are alive now are exempted from garbage collection: they stay for good.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    config = make_config(intra_op_threads or 1, inter_op_threads or 1, choose_rewrites())
    options = config_pb2.RunOptions(inter_op_thread_pool=0 if inter_op_threads else CALLING_THREAD)
    runtime = Runtime(TensorFlowC(library_path()), config.SerializeToString(), options.SerializeToString())
    gc.collect()
    gc.freeze()
    return runtime


def make_config(
    intra_op_threads: int, inter_op_threads: int, rewrites: rewriter_config_pb2.RewriterConfig
) -> config_pb2.ConfigProto:
    """Of every session."""
    return config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=inter_op_threads,
        gpu_options=config_pb2.GPUOptions(allow_growth=True),  # a trainer may need the rest of the GPU's memory
        graph_options=config_pb2.GraphOptions(rewrite_options=rewrites),
    )


def choose_rewrites() -> rewriter_config_pb2.RewriterConfig:
    """What TensorFlow rewrites in a graph before the first run of each signature: what makes runs quicker.

    Left out are a second round of everything, loops, swapping of a GPU's memory, and a second implementation of the
    same rewrites: half of the time of a load, and no gain in a run (docs/decisions/0010, ``benchmarks.loading``).
    """
    config = rewriter_config_pb2.RewriterConfig
    return config(
        meta_optimizer_iterations=config.ONE,
        loop_optimization=config.OFF,
        memory_optimization=config.NO_MEM_OPT,
        disable_tfg_optimizer=True,
    )


def make_batching(settings: Settings) -> Callable[[Servable, Path], Servable]:
    """The function that adds batching to a version, as the flags say.

    Raises:
        InvalidConfig: the parameters cannot be read or applied.
    """
    if not settings.enable_batching:
        return lambda servable, _: servable
    given = settings.batching_parameters_file
    common = read_parameters(given) if given else BatchingParameters()
    threads = BatchThreads(common)

    def join(servable: Servable, folder: Path) -> Servable:
        own = folder / PER_MODEL_FILE
        if not settings.enable_per_model_batching_parameters:
            return add_batching(servable, common, threads)
        if not own.exists():
            return servable
        try:
            return add_batching(servable, read_parameters(own).with_threads_of(common), threads)
        except InvalidConfig as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{own.name}: {error}") from error

    return join


def _warm_up(servable: Servable, folder: Path, settings: Settings) -> Callable[[], object] | None:
    """Has it answer before it replaces another version: its recorded requests, or else one run.

    Returns what is left for afterwards: explanations, but for ``--strict``.
    """
    if not settings.enable_model_warmup:
        return None
    recorded, times = folder / warmup.FILE, settings.num_request_iterations_for_warmup or 1
    requests = warmup.read_requests(tfrecord.read_records(recorded)) if recorded.exists() else []
    warm_up = warmup.WarmUp(servable, requests, settings.request_options, times)
    if not warm_up.replay(explaining=False):
        run_once(servable)
    if settings.strict:
        warm_up.replay(explaining=True)
        return None
    return partial(warm_up.replay, explaining=True) if any(map(warmup.asks_to_explain, requests)) else None


def verify_manifest(folder: Path) -> None:
    """Compares a version with its manifest, if it has one. Only the checksums are read, so that later formats load too.

    Raises:
        Refused: DATA_LOSS; the text has the first file that is missing, extra or changed.
    """
    path = folder / manifest.FILE
    if not path.exists():
        return
    try:
        expected = orjson.loads(path.read_bytes())["files"].items()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(grpc.StatusCode.DATA_LOSS, f"{manifest.FILE} is damaged: {error}") from error
    wrong = sorted({name for name, _ in set(expected) ^ set(checksums(folder).items())})
    if wrong:
        raise Refused(grpc.StatusCode.DATA_LOSS, f"checksum mismatch: {wrong[0]} is missing, extra or changed")
