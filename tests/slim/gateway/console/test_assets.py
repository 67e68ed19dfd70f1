"""Files of the console: addresses, caching, compression, and what is vendored."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from modelyard.services.gateway.console.assets import STATIC, TEMPLATES, Assets

FOR_TESTS = Path(__file__).parents[3] / "browser" / "vendor"
FIRST_LOAD_BYTES = 250 * 1000


@pytest.mark.parametrize("vendor", [STATIC / "vendor", FOR_TESTS], ids=["console", "tests"])
def test_vendored_files_are_those_of_their_releases(vendor: Path) -> None:
    """Each has its version, licence and hash; none is there without."""
    listed = json.loads((vendor / "vendor.json").read_bytes())["files"]
    for one in listed:
        assert hashlib.sha256((vendor / one["file"]).read_bytes()).hexdigest() == one["sha256"], one["file"]
        assert one["version"]
        assert one["licence"]
    there = {path.name for path in vendor.iterdir() if path.suffix in {".js", ".css"}}
    assert there == {one["file"] for one in listed}


def test_a_file_is_kept_for_a_year_at_its_own_address(client: FlaskClient) -> None:
    """The address changes with any file; another release's address is answered, and not kept."""
    address = Assets().address("js/app.js")
    answer = client.get(address)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.content_type.startswith("text/javascript")
    old = client.get(re.sub(r"/assets/\w+/", "/assets/0123456789ab/", address))
    assert (old.status_code, old.headers["Cache-Control"]) == (200, "no-store")


def test_text_is_compressed_for_those_who_can_read_it(client: FlaskClient) -> None:
    """Same content either way."""
    address = Assets().address("css/base.css")
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    packed = client.get(address, headers={"Accept-Encoding": "gzip, br"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("name", ["../templates/home.html", "js/none.js", "js", "%2e%2e/x", "js//app.js"])
def test_nothing_but_the_files_is_served(client: FlaskClient, name: str) -> None:
    """No path leads out of the folder."""
    assert client.get(f"/assets/{Assets().digest}/{name}").status_code == 404


def test_templates_hold_no_inline_script_or_style() -> None:
    """The policy would refuse them."""
    for path in sorted(TEMPLATES.rglob("*.html")):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path.name
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|\|\s*safe\b|javascript:", text), path.name


def test_modules_put_no_data_into_markup() -> None:
    """Only `textContent` and elements: no name of a user becomes markup."""
    for path in own_modules():
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        )
        assert not found, (path.name, found)


def own_modules() -> list[Path]:
    return sorted(path for path in (STATIC / "js").rglob("*.js"))
