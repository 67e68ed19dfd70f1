"""A Python client generated from the running gateway's OpenAPI document, and what it gets, as JSON on standard output.

Runs in an environment of its own (``openapi_python.txt``): the generator is openapi-python-client.
"""

import base64
import importlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIG = {"content_type_overrides": {"image/png": "application/octet-stream", "image/jpeg": "application/octet-stream"}}
"""The generator knows bodies of bytes by this type alone."""
MODEL = "mnist_mlp"


def generate(url: str, folder: Path) -> list[str]:
    """Writes the package ``generated``; returns what the generator left out."""
    config = folder / "config.json"
    config.write_text(json.dumps(CONFIG))
    generator = str(Path(sys.executable).with_name("openapi-python-client"))
    options = ("--url", f"{url}/openapi.json", "--output-path", str(folder / "generated"), "--meta", "none")
    done = subprocess.run(
        [generator, "generate", *options, "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return sorted({line for line in done.stdout.splitlines() if line.startswith(("Unsupported", "ERROR", "Cannot"))})


def call(name: str, *arguments: Any, **named: Any) -> Any:
    """The response of a generated function, by its tag and name."""
    return importlib.import_module(f"generated.api.{name}").sync_detailed(*arguments, **named)


def run(url: str, image: bytes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        left_out = generate(url, Path(folder))
        sys.path.insert(0, folder)
        client = importlib.import_module("generated").Client(base_url=url)
        models = importlib.import_module("generated.models")
        file = importlib.import_module("generated.types").File(payload=io.BytesIO(image), mime_type="image/png")
        listed = call("models.list_models", client=client)
        rows = models.Rows(instances=[{"b64": base64.b64encode(image).decode()}], signature_name="image_bytes")
        by_row = call("predict.predict", MODEL, client=client, body=rows, labels=models.PredictLabels.TRUE)
        by_file = call("predict.predict_of_version", MODEL, 1, client=client, body=file)
        missing = call("models.get_model", "nothing_here", client=client)
        wrong = call("predict.predict", MODEL, client=client, body=models.Rows(instances=[[1]]))
        return {
            "left out": left_out,
            "models": [model.name for model in listed.parsed.models],
            "row": [type(by_row.parsed).__name__, by_row.parsed.predictions[0].label],
            "file": [type(by_file.parsed).__name__, by_file.parsed.label, by_file.headers["X-Model-Version"]],
            "missing": [missing.status_code, type(missing.parsed).__name__, missing.parsed.error],
            "wrong": [wrong.status_code, type(wrong.parsed).__name__, wrong.parsed.error],
        }


if __name__ == "__main__":
    json.dump(run(sys.argv[1], Path(sys.argv[2]).read_bytes()), sys.stdout)
