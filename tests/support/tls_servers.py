"""A real Redis and a real PostgreSQL that speak TLS alone, for tests; those of distributions can, wheels' cannot."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.cli.processes import redis_server
from tests.support.ports import held_port
from tests.support.postgres import NOBODY
from tests.support.waiting import wait_until

HOST = "127.0.0.1"
USER, PASSWORD = "modelyard", "secret"
WITHOUT_TLS = ("Bad directive", "FATAL CONFIG FILE ERROR", "Failed finding TLS support")
POSTGRES_BINARIES = "/usr/lib/postgresql/*/bin/pg_ctl"
ACCESS = """
local   all all              trust
hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
"""
SETTINGS = """
fsync = off
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
ssl = on
ssl_cert_file = '{folder}/tls.crt'
ssl_key_file = '{folder}/tls.key'
ssl_ca_file = '{folder}/ca.crt'
hba_file = '{folder}/pg_hba.conf'
"""


@contextmanager
def tls_redis(folder: Path, files: TlsFiles) -> Iterator[int]:
    """The port of a Redis that clients of the same authority may speak to; skips the test where none can do TLS."""
    programs = [server.path for server in redis_server.list_servers()]
    with held_port() as port:
        for program in programs:
            with redis_of(program, folder, files, port) as speaks:
                if speaks:
                    yield port
                    return
    pytest.skip(f"no Redis that speaks TLS: {', '.join(map(str, programs)) or 'none at all'}")


@contextmanager
def redis_of(program: Path, folder: Path, files: TlsFiles, port: int) -> Iterator[bool]:
    """Runs it; False: it ends, as it was built without TLS."""
    config, log = folder / "tls.conf", folder / "redis.log"
    options = {"port": 0, "tls-port": port, "bind": HOST, "dir": folder, "tls-auth-clients": "yes", "save": '""'}
    named = {"tls-cert-file": files.certificate, "tls-key-file": files.key, "tls-ca-cert-file": files.ca}
    config.write_text("".join(f"{name} {value}\n" for name, value in {**options, **named}.items()))
    with log.open("wb") as out:
        process = subprocess.Popen([program, config], stdout=out, stderr=out)
    try:
        wait_until(lambda: process.poll() is not None or answers(port, files), what="redis")
        ended = process.poll() is not None
        assert not ended or any(words in log.read_text(errors="replace") for words in WITHOUT_TLS), log.read_text()
        yield not ended
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        process.wait(30)


def answers(port: int, files: TlsFiles) -> bool:
    named = {"ssl_certfile": files.certificate, "ssl_keyfile": files.key, "ssl_ca_certs": files.ca}
    with Redis(HOST, port, ssl=True, **{name: str(path) for name, path in named.items()}) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


@contextmanager
def tls_postgres(files: TlsFiles) -> Iterator[str]:
    """URL of an empty database that is reached by TLS alone, without files; skips the test where no PostgreSQL can."""
    pg_ctl = next(iter(sorted(Path("/").glob(POSTGRES_BINARIES[1:]), reverse=True)), None)
    if pg_ctl is None:
        pytest.skip("no PostgreSQL that speaks TLS: Debian's package postgresql has one")
    with tempfile.TemporaryDirectory(prefix="pg-tls-") as name, held_port() as port:
        folder, user = Path(name), NOBODY if os.geteuid() == 0 else None
        for path, copy in ((files.ca, "ca.crt"), (files.certificate, "tls.crt"), (files.key, "tls.key")):
            assert path
            shutil.copy(path, folder / copy)
        (folder / "tls.key").chmod(0o600)
        (folder / "password").write_text(PASSWORD)
        (folder / "pg_hba.conf").write_text(ACCESS)
        for each in (folder, *folder.iterdir()) if user else ():
            os.chown(each, user or 0, user or 0)

        def control(*arguments: str) -> None:
            command = [pg_ctl, "-s", "-w", "-t", "600", "-D", folder / "data", "-l", folder / "log", *arguments]
            subprocess.run(command, check=True, user=user, group=user, cwd=folder, stdout=subprocess.DEVNULL)

        how = f"-A scram-sha-256 -U {USER} --pwfile={folder / 'password'} --no-sync --no-locale -E UTF8"
        control("init", "-o", how)
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(port=port, folder=folder))
        control("start")
        try:
            with psycopg.connect(host=str(folder), port=port, user=USER, dbname="postgres", autocommit=True) as own:
                own.execute("CREATE DATABASE modelyard")
            yield f"postgresql+psycopg://{USER}:{PASSWORD}@{HOST}:{port}/modelyard"
        finally:
            control("stop", "-m", "immediate")
