"""What one call of an exported graph costs beside that of another version, in turns: by the model server's own runtime.

    MODELYARD_DATA_DIR=... python -m benchmarks.latency MODEL BEFORE AFTER [--signature NAME] [--size 1 --size 32]

BEFORE and AFTER are folders of versions, of any releases. Both are loaded into one process, with one
thread for each call, as our model server runs them. Rounds alternate which is first; a round is the median of some tens
of calls with other test inputs each (of texts, those of median length), and what is told is the median of the rounds'
ratios: what else the machine does slows both. ``--cpu`` compares processor time, which other work changes less.

Besides, how far answers are from each other: those of both versions, where their outputs have the same name, and those
of AFTER to an input alone and in a batch.
"""

import io
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from modelyard.models.catalog import load_spec
from modelyard.models.data import Inputs, count_examples, name_arrays, take
from modelyard.models.inputs import name_encoded_image, name_inputs
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.services.modelserver.inference.predict import run_signature
from modelyard.services.modelserver.lifecycle.loader import start_runtime
from modelyard.services.modelserver.runtime.arrays import make_array, make_tensor
from modelyard.services.modelserver.runtime.saved_model import load_saved_model
from modelyard.services.modelserver.runtime.servable import DEFAULT_SIGNATURE as DEFAULT
from modelyard.services.modelserver.runtime.servable import RequestOptions, Servable, never_cancelled

Named = Mapping[str, Array]
Clock = Callable[[], float]
FEW, MANY = 8, 40
"""Calls with other inputs in one round: of large batches, and of single inputs."""
WARM_UP = 5


@dataclass(frozen=True)
class Times:
    """Seconds of a call, median of each round, ``[R]``."""

    before: Array
    after: Array

    def describe(self) -> str:
        ratios = self.after / self.before
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        before, after = (1e3 * float(np.median(each)) for each in (self.before, self.after))
        return f"{before:.3f} -> {after:.3f} ms | **{middle:.2f}** ({low:.2f} to {high:.2f})"


@dataclass(frozen=True)
class Version:
    """A loaded version's signature."""

    servable: Servable
    signature: str

    def __call__(self, inputs: Named) -> dict[str, Array]:
        """Outputs by name."""
        tensors = run_signature(
            self.servable, self.signature, inputs, make_tensor, (), RequestOptions(), never_cancelled
        )
        return {name: array for name, tensor in tensors.items() if (array := make_array(tensor)) is not None}


def main(
    model: Annotated[str, typer.Argument(help="A model of the zoo: its test inputs are sent.")],
    before: Annotated[Path, typer.Argument(help="Folder of a version.")],
    after: Annotated[Path, typer.Argument(help="Folder of another.")],
    data_dir: Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR")] = Path(".modelyard/data"),
    signature: Annotated[list[str] | None, typer.Option(help="May be repeated; all that answer without it.")] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Inputs of a call; may be repeated; 1 and 32 without it.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Of each size and signature.")] = 30,
    cpu: Annotated[bool, typer.Option("--cpu", help="Compare processor time.")] = False,
) -> None:
    """Measure, and print a table."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    spec = load_spec(model)
    x = choose_inputs(spec.dataset.read(data_dir).test.x, MANY * max(size or [32]))
    runtime = start_runtime(0, 0)
    servables = [load_saved_model(runtime, folder) for folder in (before, after)]
    print("| signature | inputs | before -> after | ratio (quarter to quarter) | same outputs | alone, in a batch |")
    print("|---|---|---|---|---|---|")
    for name in signature or list_signatures(servables):
        versions = [Version(servable, name) for servable in servables]
        for count in size or [1, 32]:
            batches = make_batches(spec, x, count, servables[1].signatures[name].inputs)
            times = compare(versions, batches, rounds, time.process_time if cpu else time.perf_counter)
            found = describe_difference(versions[0], versions[1], batches)
            alone = describe_alone(versions[1], batches[0]) if count > 1 else ""
            print(f"| {name} | {count} | {times.describe()} | {found} | {alone} |", flush=True)
    print(f"\nLoad average: {os.getloadavg()[0]:.1f}")


def list_signatures(servables: Sequence[Servable]) -> list[str]:
    """What both have, without explanations and what TensorFlow adds; the default one first."""
    both = set.intersection(*(set(servable.signatures) for servable in servables))
    return sorted((name for name in both if not name.startswith(("explain", "_"))), key=lambda name: name != DEFAULT)


# --- inputs -----------------------------------------------------------------------------------------------------------


def choose_inputs(x: Inputs, count: int) -> Inputs:
    """The first inputs; of texts, those around the median length, in no order."""
    if isinstance(x, Mapping) or x.dtype != object:
        return take(x, slice(count))
    middle = max(0, len(x) // 2 - count // 2)
    chosen = np.argsort([len(text) for text in x], kind="stable")[middle : middle + count]
    return take(x, np.random.default_rng(0).permutation(chosen))


def make_batches(spec: ModelSpec, x: Inputs, size: int, taken: Collection[str]) -> Sequence[Named]:
    """Inputs as a signature takes them, by the names that it has for them."""
    count = min(MANY if size == 1 else FEW, count_examples(x) // size)
    return [encode(spec, take(x, slice(start * size, (start + 1) * size)), taken) for start in range(count)]


def encode(spec: ModelSpec, x: Inputs, taken: Collection[str]) -> Named:
    kinds, found = name_inputs(spec.input), {}
    for name, values in name_arrays(spec.input, x).items():
        if name not in taken:
            found[name_encoded_image(name, kinds)] = as_objects([encode_png(image) for image in values])
        elif values.dtype == object:
            found[name] = as_objects([text.encode() for text in values])
        else:
            found[name] = values.astype(np.float32)
    return found


def as_objects(values: list[bytes]) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def encode_png(image: Array) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(content, "PNG")
    return content.getvalue()


# --- time -------------------------------------------------------------------------------------------------------------


def compare(calls: Sequence[Callable[[Named], Any]], batches: Sequence[Named], rounds: int, clock: Clock) -> Times:
    """Two ways to answer the same batches, in turns."""
    for call in calls:
        for batch in (*batches[:WARM_UP], *batches[:WARM_UP]):
            call(batch)
    found: list[list[float]] = [[], []]
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            found[which].append(float(np.median([measure(calls[which], batch, clock) for batch in batches])))
    return Times(*map(np.array, found))


def measure(call: Callable[[Named], Any], batch: Named, clock: Clock) -> float:
    started = clock()
    call(batch)
    return clock() - started


# --- answers ----------------------------------------------------------------------------------------------------------


def describe_difference(before: Version, after: Version, batches: Sequence[Named]) -> str:
    """The largest difference of each output that both have."""
    found: dict[str, float] = {}
    for batch in batches:
        one, other = before(batch), after(batch)
        for name in sorted(one.keys() & other.keys()):
            found[name] = max(found.get(name, 0.0), find_difference(one[name], other[name]))
    return ", ".join(f"{name} {value:.1e}" for name, value in found.items())


def describe_alone(version: Version, batch: Named) -> str:
    """The largest difference of an input's answer alone and in its batch, over all outputs."""
    together, count = version(batch), len(next(iter(batch.values())))
    worst = 0.0
    for row in range(count):
        alone = version({name: values[row : row + 1] for name, values in batch.items()})
        worst = max(worst, *(find_difference(together[name][row : row + 1], alone[name]) for name in alone))
    return f"{worst:.1e}"


def find_difference(one: Array, other: Array) -> float:
    """Largest absolute difference; infinite where shapes or texts differ."""
    if one.shape != other.shape:
        return float("inf")
    if one.dtype == object:
        return 0.0 if (one == other).all() else float("inf")
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))


if __name__ == "__main__":
    typer.run(main)
