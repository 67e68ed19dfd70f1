"""The lines of docs/client.md do what the page says; those that need a queue are run in tests/system/up."""

from pathlib import Path

import pytest

from modelyard.models.registry.manifest import CategoryLimits, NumberLimits
from tests.slim.client.conftest import Gateway
from tests.support.documents import python_blocks, run_blocks
from tests.support.fakes import DIGITS, KINDS, REVIEWS, encoded, publish
from tests.support.named_models import FUNCTIONS, table

COLUMNS = {"age": NumberLimits(), "plan": CategoryLimits(values=("basic", "gold")), "tenure_months": NumberLimits()}


@pytest.fixture
def models(served: Gateway) -> None:
    """The models of the page, as the fake model server computes them."""
    for name, fields in (
        ("mnist_cnn", {**KINDS[DIGITS], "labels": ("1", "7")}),
        ("sentiment_lstm", KINDS[REVIEWS]),
        ("churn_of_page", table(COLUMNS)),
    ):
        served.server.loaded.add((name, publish(served.store, name, **fields)))
    served.server.functions["churn_of_page"] = FUNCTIONS["churn"]


@pytest.mark.usefixtures("models")
def test_the_pages_lines_run(served: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prints what one would expect of such a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seven.png").write_bytes(encoded("PNG"))
    blocks = [block for block in python_blocks("docs/client.md") if "jobs.submit" not in block]
    assert len(blocks) >= 6
    address = f'"{served.url}", "{served.key}"'
    printed, _ = run_blocks(blocks, {'"http://127.0.0.1:8080"': address, '"churn"': '"churn_of_page"'})
    lines = printed.splitlines()
    assert lines[0] == "7 0.75 {'1': 0.25, '7': 0.75}"
    assert "1000" in lines
    assert lines[lines.index("1000") + 1].startswith("1 [")
    assert "True" in lines
    assert any(line.startswith("404 ") for line in lines)
    assert lines[-1] == "['positive', 'negative']"
