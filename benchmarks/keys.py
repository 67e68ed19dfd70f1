"""What API keys cost: ``python -m benchmarks.keys [--keys 100]``.

Two gateways in front of one model server, one of them with so many keys; the same small JSON prediction over one
connection to each, in turns of a second, so that noise of the machine affects both alike. Then, without HTTP, how long
one check of a key takes, good and wrong. Prints figures, and appends them to ``benchmarks/results/keys.jsonl``.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from benchmarks.overhead import in_turns, over_http
from benchmarks.served import free_ports, make_versions, served
from benchmarks.serving.machine import machine
from benchmarks.serving.tally import percentile
from modelyard.client import Client
from modelyard.services.cli.gateway import responds_ok
from modelyard.services.gateway.auth.key_cache import InvalidKey, KeyCache
from modelyard.services.keys import KeyRequest, Role
from modelyard.services.ledger import Ledger

RESULTS = Path(__file__).parent / "results" / "keys.jsonl"
MODEL = "halves"
BODY = b'{"instances": [1.0, 2.0, 3.0]}'
LOOKUPS = 20_000


@contextmanager
def guarded_gateway(home: Path, socket: Path, ledger_url: str, secret: str) -> Iterator[int]:
    """Port of a gateway that requires keys, until the end of the block."""
    (port,) = free_ports(1)
    settings = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(home / "store"),
        "MODELYARD_SERVING": f"unix:{socket}",
        "MODELYARD_EXTERNAL_MODELS": MODEL,
        "MODELYARD_LEDGER_URL": ledger_url,
        "MODELYARD_KEY_SECRET": secret,
    }
    with (home / "guarded").open("wb") as out:
        command = [sys.executable, "-m", "modelyard.services.gateway"]
        process = subprocess.Popen(command, env=os.environ | settings, stdout=out, stderr=out)
    try:
        while not responds_ok(Client(f"http://127.0.0.1:{port}"), "/healthz"):
            if process.poll() is not None:
                raise SystemExit((home / "guarded").read_text()[-500:])
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def measure_lookup_us(ledger_url: str, secret: str, key: str) -> float:
    """Mean time of a check of a key, in µs."""
    with closing(Ledger(ledger_url)) as ledger, closing(KeyCache(ledger, secret.encode())) as key_cache:
        key_cache.start()
        began = time.perf_counter()
        for _ in range(LOOKUPS):
            with suppress(InvalidKey):
                key_cache.find_principal(key)
        return (time.perf_counter() - began) / LOOKUPS * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser("python -m benchmarks.keys", description=__doc__)
    parser.add_argument("--keys", type=int, default=100, help="keys in the ledger")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    with tempfile.TemporaryDirectory(prefix="mk-") as name:
        home, url = Path(name), f"sqlite:///{name}/ledger.db"
        make_versions(home / "models" / MODEL, 1)
        with closing(Ledger(url)) as ledger:
            asked = [KeyRequest(name=f"client-{number}", role=Role.PREDICTOR) for number in range(options.keys)]
            key = [ledger.keys.create(each, "the benchmark", secret.encode())[1] for each in asked][-1]
        with served(home, MODEL, f"--models-dir={home / 'models'}") as port:
            socket = next((home / "serve").rglob("serving.sock"))
            with guarded_gateway(home, socket, url, secret) as key_port:
                path, headers = f"/v1/models/{MODEL}:predict", {"Authorization": f"Bearer {key}"}
                ways = {
                    "without": over_http(port, path, BODY, {}),
                    "with": over_http(key_port, path, BODY, headers),
                }
                took = in_turns(ways, connections=1)
        lookups = {"good": measure_lookup_us(url, secret, key), "wrong": measure_lookup_us(url, secret, key[:-1] + "-")}
    result = {
        "machine": machine(),
        "options": vars(options),
        "requests": {name: len(values) for name, values in took.items()},
        "median_us": {name: round((percentile(sorted(values), 0.5) or 0) * 1000) for name, values in took.items()},
        "p99_us": {name: round((percentile(sorted(values), 0.99) or 0) * 1000) for name, values in took.items()},
        "look_us": {name: round(value, 1) for name, value in lookups.items()},
    }
    with RESULTS.open("a") as results:
        results.write(json.dumps(result) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "machine"}, indent=1))


if __name__ == "__main__":
    main()
