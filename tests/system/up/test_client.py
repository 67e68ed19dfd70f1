"""The README's lines of Python, and those of docs/client.md that need a queue, against the whole system."""

from modelyard.client import Client
from tests.support.documents import python_blocks, run_blocks
from tests.system.conftest import System

UNPUBLISHED = {
    'jobs.submit("mnist_cnn"': 'jobs.submit("neuron"',
    'rollout="canary"': 'rollout="none"',
}
"""The other tests of this system know its versions."""


def test_the_readmes_lines_of_python_run(system: System) -> None:
    """A prediction, a job with its events, its end; then the job of the client's page."""
    readme = python_blocks("README.md", "From Python")
    folder = {'Path(".modelyard/examples/mnist_cnn.png")': f"Path({str(system.home / 'examples' / 'mnist_mlp.png')!r})"}
    served = {**folder, "http://127.0.0.1:8080": system.url, **UNPUBLISHED, "mnist_cnn": "mnist_mlp"}
    printed, names = run_blocks(readme, served)
    first, *events, last = printed.splitlines()
    assert first.split()[0] in map(str, range(10))
    assert events[0].split()[0] == "queued"
    assert {"running", "train"} <= {line.split()[0] for line in events}
    assert last == "succeeded None"

    (block,) = [block for block in python_blocks("docs/client.md") if "jobs.submit" in block]
    assign = f"from modelyard.client import Client\nclient = Client({system.url!r})\n"
    printed, names = run_blocks([assign, block], UNPUBLISHED)
    assert printed.splitlines()[-1].startswith("succeeded None")
    assert names["job"].id in [job.id for job in Client(system.url).jobs.list(model="neuron")]
