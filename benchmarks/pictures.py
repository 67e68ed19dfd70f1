"""What the pixels of drawings cost in the graph: ``python -m benchmarks.pictures [--write]``.

Of each kind of file the processor time for one picture in batches of several sizes, in one thread, and which operations
it goes to in the largest; whether answers are to the level what each picture's is alone. ``--write`` keeps the table in
``benchmarks/results/pictures.md``.
"""

import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.serving.machine import machine
from modelyard.models.datasets import mnist
from modelyard.models.inputs import ImageInput, Ink
from modelyard.models.types import Array

RESULTS = Path(__file__).parent / "results" / "pictures.md"
KIND = ImageInput(28, 28, ink=Ink())
SIZES = (1, 8, 64)
RUNS = 5
SHOWN = 8
"""Operations in the table."""
CALLING = ("", "PartitionedCall", "StatefulPartitionedCall")


def encode(picture: Array, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, form)
    return out.getvalue()


def enlarge(digit: Array, size: int) -> Array:
    """Dark on light, ``uint8 [size,size,3]``."""
    large = Image.fromarray(255 - digit).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")
    return np.asarray(large)


def make_files(digits: Array) -> dict[str, list[bytes]]:
    """By kind; ``digits`` ``uint8 [N,28,28]`` are in the normal form."""
    normal = [encode(digit) for digit in digits]
    moved = [encode(np.roll(digit, 4, axis=1)) for digit in digits]
    return {
        "normal": normal,
        "normal, but for one": [moved[0], *normal[1:]],
        "28 pixels, moved": moved,
        "PNG of 280 pixels": [encode(enlarge(digit, 280)) for digit in digits],
        "JPEG of 640 pixels": [encode(enlarge(digit, 640), "JPEG") for digit in digits],
    }


def measure_ms(run: Callable[[Sequence[bytes]], Any], files: Sequence[bytes], size: int) -> float:
    """Processor time for one picture; the least of a few runs over all files."""
    batches = [files[first : first + size] for first in range(0, len(files), size)]
    run(batches[0])
    took = []
    for _ in range(RUNS):
        started = time.process_time()
        for batch in batches:
            run(batch)
        took.append(time.process_time() - started)
    return min(took) * 1000 / len(files)


def count_operations(session: Any, output: Any, feed: dict[Any, Any]) -> dict[str, float]:
    """Share of the time by kind of operation, the largest first; those that only call others are left out."""
    import tensorflow as tf

    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    runs = []
    for _ in range(RUNS):
        traced = tf.compat.v1.RunMetadata()
        session.run(output, feed, options=options, run_metadata=traced)
        spent: Counter[str] = Counter()
        for device in traced.step_stats.dev_stats:
            for node in device.node_stats:
                name = node.timeline_label.partition(" = ")[2].partition("(")[0]
                spent[name] += node.op_end_rel_micros - node.op_start_rel_micros
        runs.append(spent)
    # Times are by the clock: another process that was let in between made some of them longer.
    spent = Counter({name: min(run[name] for run in runs) for name in runs[0] if name not in CALLING})
    total = sum(spent.values()) or 1
    return {name: time / total for name, time in spent.most_common(SHOWN)}


def measure(files: dict[str, list[bytes]]) -> list[str]:
    """The lines of the table."""
    import tensorflow as tf

    from modelyard.models.images.decoding import make_image_decoder

    tf1 = tf.compat.v1
    lines = [
        f"| kind | {' | '.join(f'ms, {size} at once' for size in SIZES)} | pixels that differ | goes to |",
        f"|---|{'---|' * len(SIZES)}---|---|",
    ]
    options = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.Graph().as_default(), tf1.Session(config=options) as session:
        given = tf1.placeholder(tf.string, [None])
        pixels = make_image_decoder(KIND)(given)

        def run(batch: Sequence[bytes]) -> Array:
            found: Array = session.run(pixels, {given: batch})
            return found

        for kind, content in files.items():
            took = [measure_ms(run, content, size) for size in SIZES]
            alone = np.concatenate([run([file]) for file in content])
            differing = np.count_nonzero(run(content) != alone)
            shares = count_operations(session, pixels, {given: content})
            named = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            lines.append(f"| {kind} | {' | '.join(f'{ms:.3f}' for ms in took)} | {differing} | {named} |")
            print(lines[-1], flush=True)
    return lines


def main(*, write: Annotated[bool, typer.Option("--write", help="Keep the table.")] = False) -> None:
    """Measure, print, and perhaps keep."""
    digits = mnist.sample().test.x[: max(SIZES), ..., 0]
    on = machine()
    lines = measure(make_files(digits))
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {on['cores']} cores of {on['processor']}, load {on['load_before']}"
    text = "\n".join([f"`python -m benchmarks.pictures --write`: {head}.", "", *lines, ""])
    print(text)
    if write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    typer.run(main)
