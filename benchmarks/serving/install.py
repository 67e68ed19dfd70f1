"""An environment per peer in ``.bench``, from its pinned requirements. They never enter the project's own lock."""

import shutil
import subprocess
import sys

from benchmarks.serving.roster import ENVIRONMENTS, PEERS, ROOT

ERROR_TAIL_CHARS = 300
MARK = ".installed"


def install(folder: str) -> str | None:
    """Installs a peer unless it is there with the same requirements. Returns why not, or None."""
    requirements = PEERS / folder / "requirements.txt"
    place = ENVIRONMENTS / folder
    mark = place / MARK
    if mark.exists() and mark.read_bytes() == requirements.read_bytes():
        return None
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    print(f"installing {folder} ...", flush=True)
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)],
        [uv, "pip", "sync", "--quiet", "--python", str(place / "bin" / "python"), str(requirements)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            return f"could not be installed: {uv}: {error.strerror}"
        if done.returncode:
            return f"could not be installed: {' '.join(done.stderr.split())[-ERROR_TAIL_CHARS:]}"
    mark.write_bytes(requirements.read_bytes())
    return None


def versions(folder: str, names: tuple[str, ...]) -> dict[str, str]:
    """Pinned versions of some distributions."""
    lines = (PEERS / folder / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    return {name: pinned[name] for name in names}
