"""What rewriting a graph costs at a load, and saves in a run: ``python -m benchmarks.loading VERSION [VERSION ...]``.

Each version is loaded in this process with TensorFlow's default rewrites, with ours, and with none, and replays its
warm-up requests. Then each request runs many times in turn with all three. Prints processor seconds of the loads, and
the medians of the runs as ratios to the default.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from modelyard.models.tfserving.messages import config_pb2, prediction_log_pb2, rewriter_config_pb2
from modelyard.services.modelserver.lifecycle import loader, tfrecord, warmup
from modelyard.services.modelserver.runtime.saved_model import Runtime, load_saved_model
from modelyard.services.modelserver.runtime.servable import RequestOptions, Servable
from modelyard.services.modelserver.runtime.tensorflow_c import TensorFlowC, library_path

DEFAULT = "default"
REWRITES = {
    DEFAULT: rewriter_config_pb2.RewriterConfig(),
    "ours": loader.choose_rewrites(),
    "none": rewriter_config_pb2.RewriterConfig(disable_meta_optimizer=True),
}
SECONDS = 1.5
"""Of runs of one request with one configuration."""
MAX_RUNS = 400


class Replay(NamedTuple):
    """One recorded request of one loaded version."""

    title: str
    run: Callable[[], object]


def load(
    library: TensorFlowC, rewrites: rewriter_config_pb2.RewriterConfig, folder: Path
) -> tuple[float, list[Replay]]:
    """Loads and warms up. Returns the processor seconds, and the requests that were replayed."""
    config = loader.make_config(1, 1, rewrites)
    options = config_pb2.RunOptions(inter_op_thread_pool=loader.CALLING_THREAD)
    runtime = Runtime(library, config.SerializeToString(), options.SerializeToString())
    requests = warmup.read_requests(tfrecord.read_records(folder / warmup.FILE))
    began = time.process_time()
    servable = load_saved_model(runtime, folder, ["serve"])
    replays = [make_replay(servable, each) for each in requests]
    for replay in replays:
        replay.run()
    return time.process_time() - began, replays


def make_replay(servable: Servable, recorded: prediction_log_pb2.PredictionLog) -> Replay:
    request = recorded.predict_log.request
    rows = max((tensor.tensor_shape.dim[0].size for tensor in request.inputs.values()), default=0)
    warm_up = warmup.WarmUp(servable, [recorded], RequestOptions())
    explains = warmup.asks_to_explain(recorded)
    return Replay(f"{request.model_spec.signature_name}, {rows} rows", lambda: warm_up.replay(explaining=explains))


def time_run(replay: Replay) -> float:
    began = time.perf_counter()
    replay.run()
    return time.perf_counter() - began


def compare(replays: list[Replay]) -> list[float]:
    """Medians in s, of runs in turn: backwards every other time."""
    rounds = max(20, min(MAX_RUNS, int(SECONDS / time_run(replays[0]))))
    found: list[list[float]] = [[] for _ in replays]
    for number in range(rounds):
        order = list(enumerate(replays))
        for place, replay in order if number % 2 else reversed(order):
            found[place].append(time_run(replay))
    return [statistics.median(times) for times in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="+", type=Path, help="Folder of a version with warm-up requests.")
    library = TensorFlowC(library_path())
    for folder in parser.parse_args().version:
        loaded = {name: load(library, rewrites, folder) for name, rewrites in REWRITES.items()}
        costs = ", ".join(f"{name} {took:.2f}" for name, (took, _) in loaded.items())
        print(f"{folder.parent.name} {folder.name}: load, CPU-s: {costs}")
        for same in zip(*(replays for _, replays in loaded.values()), strict=True):
            medians = compare(list(same))
            ratios = ", ".join(f"{name} {each / medians[0]:.3f}" for name, each in zip(loaded, medians, strict=True))
            print(f"  {same[0].title}: {medians[0] * 1000:.3f} ms; {ratios}", flush=True)


if __name__ == "__main__":
    main()
