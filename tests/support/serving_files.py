"""The files in deploy/serving that `modelyard plan-batches --serving-file` has written, and what they say."""

import re
from dataclasses import dataclass
from pathlib import Path

from modelyard.services.modelserver.batching.parameters import BatchingParameters, parse_parameters
from tests.support.repository import ROOT

BATCHING = {int(path.suffixes[0][1:]): path for path in sorted((ROOT / "deploy/serving").glob("batching.*.txt"))}
"""By number of CPUs."""
FOR = re.compile(r"^# For (\d+) CPUs?: (measured|EXTRAPOLATED)", re.MULTILINE)
ON = re.compile(r"^# Measured with our model server on (\d+) CPU", re.MULTILINE)
FLAGS = re.compile(r"^# Flags that go with it: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class ServingFile:
    """The parameters, and what the comments say."""

    parameters: BatchingParameters
    cpus: int
    is_measured: bool
    measured_cpus: int
    flags: dict[str, str]


def read_serving_file(path: Path) -> ServingFile:
    return parse_serving_file(path.read_text())


def parse_serving_file(text: str) -> ServingFile:
    ((cpus, how),) = FOR.findall(text)
    (measured,) = ON.findall(text)
    (line,) = FLAGS.findall(text)
    pairs = (each.removeprefix("--").partition("=") for each in line.split())
    flags = {name: value for name, _, value in pairs}
    return ServingFile(parse_parameters(text), int(cpus), how == "measured", int(measured), flags)
