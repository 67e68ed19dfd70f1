"""What commands print: JSON that a script can read, lines that are whole, errors with the way out, times that help."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.cli.commands.observed import print_observed
from modelyard.services.cli.output import describe_progress, format_duration
from modelyard.services.keys import Role
from modelyard.services.ledger import JobRequest, Ledger
from tests.support.command_line import Done, run_here
from tests.support.fake_gateway import FakeGateway
from tests.support.fakes import HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.guarded import settings_with_keys
from tests.support.keyed import key_for
from tests.support.slim_programs import gateway

TRAIN = {"stage": "train", "epoch": 1, "epochs": 4, "step": 45, "steps": 100, "eta_s": 8100.0}


class Commands:
    """Commands that call one gateway with an operator's key."""

    def __init__(self, url: str, key_file: Path, job: str) -> None:
        self.url, self.key_file, self.job = url, key_file, job

    def run(self, *arguments: str) -> Done:
        return run_here(*arguments, "--url", self.url, "--key-file", str(self.key_file))


@pytest.fixture(scope="module")
def commands(
    shared_store: Store, shared_server: FakeModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("commands")
    (folder / "key").write_text(f"{key_for(folder / 'ledger.db', Role.ADMIN)}\n")
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    job = ledger.jobs.add(JobRequest(model=HALF_PLUS), by="test", devices="auto")
    ledger.close()
    with gateway(**settings_with_keys(shared_store, shared_server, folder / "ledger.db")) as (_, http):
        yield Commands(url_of(http), folder / "key", job.id)


def run_in(folder: Path, project: str, *arguments: str) -> str:
    """What a command prints in a folder with this ``modelyard.toml``."""
    (folder / "modelyard.toml").write_text(project)
    with contextlib.chdir(folder):
        return run_here(*arguments).out


def url_of(http: httpx.Client) -> str:
    return str(http.base_url).rstrip("/")


@pytest.mark.parametrize(
    ("arguments", "member"),
    [
        (("models",), "trainable"),
        (("versions", HALF_PLUS), "versions"),
        (("versions", HALF_PLUS, "1"), "verdict"),
        (("card", HALF_PLUS), "about_data"),
        (("rollout", HALF_PLUS), "history"),
        (("jobs",), "next"),
        (("jobs", "show", "JOB"), "events"),
        (("jobs", "log", "JOB"), "log"),
        (("searches",), "searches"),
        (("triggers", "list", HALF_PLUS), "triggers"),
        (("audit",), "entries"),
        (("predict", REVIEWS, "a good film"), "label"),
        (("rollback", HALF_PLUS, "--reason", "r"), "stable"),
        (("promote", HALF_PLUS, "1"), "stable"),
        (("jobs", "cancel", "JOB"), "state"),
        (("doctor",), "findings"),
        (("pools",), "pools"),
        (("move", HALF_PLUS, "default"), "placement"),
    ],
)
def test_json_is_one_document_and_nothing_else(commands: Commands, arguments: tuple[str, ...], member: str) -> None:
    """Whatever the command; and without ``--json`` it prints something else."""
    words = [commands.job if word == "JOB" else word for word in arguments]
    done = commands.run(*words, "--json")
    assert member in json.loads(done.out), done.err
    if words[0] not in ("predict", "rollback", "promote", "move"):
        shown = commands.run(*words)
        assert shown.out != done.out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("versions", "missing"), 4, "`modelyard models`"),
        (("card", HALF_PLUS, "99"), 4, "99"),
        (("jobs", "show", "job-0123456789abcdef"), 4, "`modelyard jobs`"),
        (("rollback", REVIEWS), 3, "no"),
        (("predict", REVIEWS, "x", "--version", "99"), 4, "99"),
        (("predict", HALF_PLUS, "a text"), 2, "expected"),
        (("train", HALF_PLUS), 6, "try again"),
        (("move", HALF_PLUS, "gup"), 2, "unknown pool 'gup'"),
        (("jobs", "--limit", "0"), 2, "--limit"),
        (("jobs", "shwo", "x"), 2, "Did you mean 'show'?"),
    ],
)
def test_errors_are_a_line_with_the_way_out_and_their_own_status(
    commands: Commands, arguments: tuple[str, ...], status: int, words: str
) -> None:
    """Nothing on standard output."""
    done = commands.run(*arguments)
    assert (done.status, done.out) == (status, ""), done.err
    assert words in done.err
    if status != 2 or arguments[0] == "predict":
        assert done.err.count("\n") == 1


def test_without_a_key_it_is_said_where_to_put_it(commands: Commands, tmp_path: Path) -> None:
    """Also for a file that is not there, and one that holds no key."""
    refused = run_here("models", "--url", commands.url)
    assert (refused.status, "--key-file" in refused.err) == (5, True)
    missing = run_here("models", "--url", commands.url, "--key-file", str(tmp_path / "no"))
    assert (missing.status, "No such file" in missing.err) == (2, True)
    for name, value in (("api_key", commands.key_file.read_text().strip()), ("key_file", str(commands.key_file))):
        assert HALF_PLUS in run_in(tmp_path, f'{name} = "{value}"', "models", "--url", commands.url)
    (tmp_path / "empty").write_text("\n")
    empty = run_here("models", "--url", commands.url, "--key-file", str(tmp_path / "empty"))
    assert (empty.status, "expected an API key" in empty.err) == (2, True)


def test_a_job_that_is_followed_is_printed_as_json_when_it_has_ended() -> None:
    """Its progress goes to standard error."""
    with FakeGateway() as fake:
        fake.end("rejected", reason="below the floor")
        done = run_here("jobs", "follow", str(fake.job["id"]), "--json", "--url", fake.url)
    assert (done.status, json.loads(done.out)["state"]) == (3, "rejected")
    assert "neuron: rejected" in done.err


def test_long_lines_are_whole_in_a_pipe() -> None:
    """An error of 300 characters too."""
    with FakeGateway() as fake:
        fake.end("failed", reason="why " * 75)
        done = run_here("jobs", "follow", str(fake.job["id"]), "--url", fake.url)
    assert f"failed: {'why ' * 75}" in done.err


# --- time left --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({}, "11 % · 2 h 15 min left · epoch 1/4"),
        ({"step": 10}, "epoch 1/4"),
        ({"step": 1, "eta_s": 2709.0}, "epoch 1/4"),
        ({"epoch": 2, "step": 1, "eta_s": 61.0}, "25 % · 1 min 1 s left · epoch 2/4"),
        ({"eta_s": None}, "epoch 1/4"),
        ({"eta_s": 0.2}, "11 % · 1 s left · epoch 1/4"),
        ({"eta_s": None, "metrics": {"loss": None, "accuracy": 0.5}}, "epoch 1/4 · accuracy 0.5000"),
        ({"eta_s": None, "metrics": {"val_loss": None}}, "epoch 1/4"),
    ],
)
def test_the_time_left_is_said_once_it_is_known(changed: dict[str, Any], note: str) -> None:
    """Not in the first ten steps, which hold what is done once."""
    assert describe_progress(TRAIN | changed) == ("train", note)


def test_a_duration_has_its_two_largest_units() -> None:
    """Nobody divides by 3,600."""
    lengths = (0, 59, 60, 3599, 3600, 8100, 86_400, 200_000)
    expected = ["1 s", "59 s", "1 min", "59 min 59 s", "1 h", "2 h 15 min", "1 d", "2 d 7 h"]
    assert [format_duration(seconds) for seconds in lengths] == expected


def test_a_canarys_evidence_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Both versions with answers, errors and latency; each comparison against its bound; what is missing."""
    arm = {"answers": 1234, "errors": 5, "p99_s": 0.0213, "labelled": 7, "mistakes": 2}
    evidence = {
        "stable": arm,
        "tried": arm | {"answers": 99, "p99_s": None},
        "comparisons": [{"name": "errors", "evidence": 3.21, "bound": 100.0, "decides": "end"}],
        "supports": {"action": "step", "reason": "nothing spoke against it"},
        "missing": ["no feedback"],
        "progress": {"compared": 99, "needed": 10_000, "then": "promote"},
        "outlook": {"seconds_left": 3700.0, "labels_left": 140},
    }
    found = {"stable": 1, "canary": {"version": 2}, "observed": {"shadow": {"asked": 4}}}
    print_observed(found, evidence)
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["stable", "1", "1,234", "5", "21.3", "ms", "7", "2"] in lines
    assert ["canary", "2", "99", "5", "-", "7", "2"] in lines
    assert ["errors", "3.21", "100", "ends", "the", "canary"] in lines
    assert ["missing:", "no", "feedback"] in lines
    assert "99 of 10,000 answers compared; then: promote" in printed
    assert "about 1 h 1 min left at the present rate" in printed
    assert "about 140 labels until feedback decides" in printed
    assert ["shadow:", "asked", "4"] in lines
    print_observed({"stable": 1, "canary": None, "observed": None}, None)
    assert capsys.readouterr().out == ""
