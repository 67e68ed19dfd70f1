"""A TypeScript client with types generated from the running gateway's OpenAPI document: checked by tsc, and run.

Runs in an environment of its own (``openapi_typescript.txt``), which brings Node.js; npm brings the generator.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("openapi_typescript")
NODE = Path(sys.executable).parent


def run(folder: Path, program: str, *arguments: str) -> str:
    """What a program of Node.js printed."""
    path = os.environ | {"PATH": f"{NODE}:{os.environ['PATH']}"}
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False, env=path)
    if done.returncode:
        sys.exit(f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def install(folder: Path) -> None:
    """Installs what package-lock.json says, once."""
    lock, mark = SOURCE / "package-lock.json", folder / "node_modules" / ".of"
    for file in SOURCE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        run(folder, str(NODE / "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        mark.write_bytes(lock.read_bytes())


def main(url: str, image: str) -> None:
    folder = NODE.parent / "client"
    folder.mkdir(exist_ok=True)
    install(folder)
    node = str(NODE / "node")
    run(folder, node, "node_modules/openapi-typescript/bin/cli.js", f"{url}/openapi.json", "-o", "schema.ts")
    run(folder, node, "node_modules/typescript/bin/tsc", "--project", ".")
    sys.stdout.write(run(folder, node, "--no-warnings", "client.ts", url, image))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
