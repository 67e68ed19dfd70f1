"""The first start: a folder of any name, and a gateway that is killed while the first model trains."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from tests.support.waiting import wait_until
from tests.system.conftest import READY_S, System

HOME = 'a b\'s "home" 100%41 #1 @x,?é'


BEGUN = re.compile(r"neuron: (running|data|rehearse|train)")
"""What is printed of a job that has begun: short states may pass between two looks."""


def test_up_goes_on_when_its_gateway_is_killed_while_it_trains(tmp_path: Path) -> None:
    """In a folder with every character that means something to a shell, a URL or a configuration file."""
    (tmp_path / HOME).mkdir()
    system = System(tmp_path / HOME, ("--data", "sample", "--model", "neuron"))
    killing = threading.Thread(target=kill_gateway_while_it_trains, args=(system,))
    killing.start()
    try:
        system.start()
        killing.join()
        assert "gateway ended with status -9; restarting it" in system.printed
        answer = httpx.post(f"{system.url}/v1/models/neuron:predict", json={"instances": [[1.0]]}, timeout=30)
        assert answer.status_code == 200, answer.text
        assert "neuron version 1 is complete" in modelyard(system, "doctor", "--url", system.url)
        assert "key" in modelyard(system, "keys", "list")
        assert str(system.home) in modelyard(system, "migrate")
        assert not (tmp_path / ".modelyard").exists()
    finally:
        assert system.stop() == []


def kill_gateway_while_it_trains(system: System) -> None:
    out = system.home.parent / f"{system.home.name}.out"
    wait_until(lambda: out.exists() and BEGUN.search(system.printed), READY_S, "the training")
    gateway = system.find("modelyard.services.gateway")
    assert gateway
    gateway.kill()


def modelyard(system: System, *arguments: str) -> str:
    """What a command prints that knows the folder from its environment, in another one."""
    command = [sys.executable, "-m", "modelyard", *arguments]
    known = os.environ | {"MODELYARD_HOME": str(system.home)}
    return subprocess.run(command, cwd=system.home.parent, env=known, capture_output=True, text=True, check=True).stdout
