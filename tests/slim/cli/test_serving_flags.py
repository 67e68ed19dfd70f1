"""Flags of model servers: the choice from given measurements, the file that is written, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard.models.registry.store import Store
from modelyard.services.cli.commands.batching.choice import (
    MAX_INSTANCES,
    Candidate,
    Load,
    Measured,
    ServingFlags,
    choose,
    list_threads,
    list_variations,
    score,
)
from modelyard.services.cli.commands.batching.serving_file import Report, name_file, write_file, write_parameters
from modelyard.services.cli.commands.batching.serving_flags import choose_cpus
from modelyard.services.modelserver.batching.parameters import parse_parameters
from tests.support.command_line import run_here

ONE, TWO, FOUR = (ServingFlags(batch_threads=threads) for threads in (1, 2, 4))
LOADS = (Load("quick", 1, 2), Load("slow", 32, 2))


def candidate(flags: ServingFlags, *results: tuple[float, float]) -> Candidate:
    """``results``: rows a second and 99th percentile, by load."""
    return Candidate(flags, tuple(Measured(load, *each) for load, each in zip(LOADS, results, strict=True)))


def report(chosen: Candidate, *others: Candidate, cpus: int = 2) -> Report:
    return Report(
        cpus=cpus, machine="x86_64, some CPU, 2 CPUs", measured_at=datetime(2026, 1, 2, tzinfo=UTC),
        versions=("quick version 1", "slow version 3"), command=("modelyard", "plan-batches"), target_ms=50,
        first=(chosen, *others), variations=(chosen,), chosen=chosen,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "two", "four", "best"),
    [
        pytest.param([(890, 5), (89, 5)], [(1000, 5), (100, 5)], [(940, 5), (94, 5)], TWO, id="most rows"),
        pytest.param([(910, 5), (91, 5)], [(1000, 5), (100, 5)], [(950, 5), (95, 5)], ONE, id="plainest of equals"),
        pytest.param([(500, 5), (50, 5)], [(1000, 5), (100, 60)], [(900, 5), (90, 50)], FOUR, id="within the bound"),
        pytest.param([(500, 70), (50, 90)], [(1000, 60), (100, 60)], [(9, 60), (9, 60)], TWO, id="nobody keeps it"),
        pytest.param([(500, 5), (50, 90)], [(1000, 60), (100, 70)], [(9, 6), (9, 99)], ONE, id="one load binds"),
        pytest.param([(1000, 5), (25, 5)], [(800, 5), (100, 5)], [(900, 5), (50, 5)], TWO, id="each load counts alike"),
    ],
)
def test_the_plainest_of_the_quickest_within_the_bound_is_chosen(
    one: list[tuple[float, float]],
    two: list[tuple[float, float]],
    four: list[tuple[float, float]],
    best: ServingFlags,
) -> None:
    """Rows a second within 10 % are equal; a bound that no candidate keeps binds none."""
    found = choose([candidate(ONE, *one), candidate(TWO, *two), candidate(FOUR, *four)], target_ms=50)
    assert found.flags == best


def test_a_score_is_a_share_of_the_best_of_each_load() -> None:
    """A model with a hundred times the rows counts as much as another."""
    first, second = candidate(ONE, (1000, 5), (25, 5)), candidate(TWO, (250, 5), (100, 5))
    assert score(first, [first, second]) == pytest.approx(0.5)
    assert score(second, [first, second]) == pytest.approx(0.5)
    assert score(first, [first]) == 1


@pytest.mark.parametrize("cpus", [1, 2, 3, 16])
def test_candidates_begin_with_a_thread_for_each_cpu_and_each_is_a_file_that_a_gateway_can_use(cpus: int) -> None:
    """No call of a gateway is too large for any of them."""
    found = list_threads(cpus)
    assert found[0] == ServingFlags(batch_threads=cpus)
    assert len(set(found)) == len(found)
    assert list_variations(found[-1], cpus)[0] == found[-1]
    for each in (*found, *list_variations(found[-1], cpus)):
        parameters = parse_parameters(write_parameters(each))
        assert parameters.num_batch_threads == each.batch_threads
        assert parameters.max_batch_size == each.max_batch_size >= MAX_INSTANCES
        assert parameters.batch_timeout_micros == each.timeout_us


@pytest.mark.parametrize(
    ("threads", "measured", "wanted", "expected"),
    [(2, 2, 4, 4), (1, 2, 4, 2), (4, 2, 1, 2), (1, 2, 1, 1), (1, 4, 1, 1)],
)
def test_threads_are_extrapolated_by_cpu(threads: int, measured: int, wanted: int, expected: int) -> None:
    """At least one."""
    assert ServingFlags(batch_threads=threads).for_cpus(measured, wanted).batch_threads == expected


def test_a_file_says_what_was_measured_and_what_was_not() -> None:
    """The same threads for each CPU; nothing that is extrapolated is called measured."""
    given = report(candidate(TWO, (1000, 5), (100, 5.25)), candidate(FOUR, (900, 5), (90, 9)))
    here, larger = write_file(given, 2), write_file(given, 4)
    assert parse_parameters(here).num_batch_threads == 2
    assert parse_parameters(larger).num_batch_threads == 4
    assert "# For 2 CPUs: measured, as below.\n" in here
    assert "# For 4 CPUs: EXTRAPOLATED, not measured" in larger
    for text in (here, larger):
        assert "Measured with our model server on 2 CPUs" in text
        assert "# Flags that go with it: --tensorflow_intra_op_parallelism=1 --rest_api_num_threads=2\n" in text
        assert "quick version 1, slow version 3" in text
        assert "On 2026-01-02, on x86_64, some CPU, 2 CPUs." in text
        assert "# Written by: modelyard plan-batches\n" in text
        assert max(map(len, text.splitlines())) <= 130
    assert write_file(given, 2) == here


def test_flags_that_are_not_the_defaults_are_named() -> None:
    """Operations side by side are a flag only where they paid."""
    flags = replace(TWO, inter_op=2, intra_op=2)
    text = write_file(report(candidate(flags, (1000, 5), (100, 5))), 2)
    assert "--tensorflow_intra_op_parallelism=2 --tensorflow_inter_op_parallelism=2 --rest_api_num_threads=2" in text


@pytest.mark.parametrize(
    ("name", "other"), [("batching.txt", "batching.4.txt"), ("batching.2.txt", "batching.4.txt"), ("2.txt", "2.4.txt")]
)
def test_files_for_other_numbers_of_cpus_lie_beside_it(name: str, other: str) -> None:
    """With the number in their name."""
    assert name_file(Path("deploy") / name, 4) == Path("deploy") / other


def test_cpus_are_those_that_are_here_unless_said() -> None:
    """One is everywhere."""
    assert choose_cpus(1, ()) == 1
    assert choose_cpus(None, ()) >= 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--cpus", "0"], "--cpus must be from 1 to"),
        (["--cpus", "4096"], "--extrapolate writes a file for more"),
        (["--cpus", "1", "--extrapolate", "1"], "other than the 1 measured"),
        (["--extrapolate", "0"], "at least 1"),
        ([], "no model in"),
        (["nothing"], "nothing has no stable version"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, options: list[str], reason: str) -> None:
    """And nothing is started or written."""
    path = tmp_path / "batching.txt"
    done = run_here("plan-batches", *options, "--home", str(tmp_path), "--serving-file", str(path))
    assert done.status == 2
    assert reason in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("place", ["", "missing/batching.txt"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, filled: Store, place: str
) -> None:
    """A folder, and a file in one that there is not."""
    done = run_here("plan-batches", "--home", str(filled.root.parent), "--serving-file", str(tmp_path / place))
    assert done.status == 2
    assert "cannot write" in done.err
    assert done.err.count("\n") == 1


def test_two_files_in_one_place_are_refused(tmp_path: Path, filled: Store) -> None:
    """The one beside it has the number of CPUs in its name."""
    path = tmp_path / "batching.4.txt"
    options = ("--cpus", "1", "--extrapolate", "4", "--serving-file", str(path))
    done = run_here("plan-batches", "--home", str(filled.root.parent), *options)
    assert done.status == 2
    assert "batching.4.txt twice" in done.err
    assert not path.exists()


def test_options_that_need_a_serving_file_are_refused_without(tmp_path: Path) -> None:
    """As usage."""
    for options in (["--cpus", "1"], ["--extrapolate", "4"], []):
        done = run_here("plan-batches", "--home", str(tmp_path), *options)
        assert done.status == 2
        assert "--serving-file" in done.err
