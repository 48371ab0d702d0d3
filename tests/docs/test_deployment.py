"""The files on docs/deployment.md and the example in SECURITY.md: the programs that they are for accept them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.picture_files import page_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text()


def example(language: str, page: str = PAGE) -> str:
    [text] = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return str(text)


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_every_option_of_serve_exists() -> None:
    help_text = run(sys.executable, "-m", "numerals", "serve", "--help").stdout
    command = re.search(r"^ExecStart=\S+/numerals serve (.*)$", example("ini"), re.MULTILINE)
    assert command
    options = re.findall(r"--[a-z-]+", command[1])
    assert len(options) > 5
    for option in {*options, *re.findall(r"`(--[a-z-]+)", PAGE)}:
        assert re.search(rf"{option}\b(?!-)", help_text), option


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "numerals.service"
    unit.write_text(re.sub(r"(?<=^ExecStart=)\S+", sys.executable, example("ini"), flags=re.MULTILINE))
    done = run("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_nginx_accepts_the_site(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if not nginx:
        pytest.skip("nginx is not installed")
    site = re.sub(r" *ssl_certificate.*\n", "", example("nginx"))  # it would read the certificate
    addresses = iter(f"unix:{tmp_path}/{number}" for number in range(9))
    (tmp_path / "site.conf").write_text(re.sub(r"(?<=listen )\S+ ssl(?=;)", lambda _: next(addresses), site))
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} "
        f"http {{ access_log off; {folders} include {tmp_path}/site.conf; }}"
    )
    done = run(nginx, "-t", "-q", "-p", tmp_path, "-c", tmp_path / "nginx.conf")
    assert done.returncode == 0, done.stderr


def test_the_example_of_decoding_in_a_process_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(page_of("0571")).save("photo.jpg")
    Image.fromarray(page_of("0571")).convert("RGB").save("scan.pdf")
    names: dict[str, object] = {}
    exec(example("python", (ROOT / "SECURITY.md").read_text()), names)
    pages = names["pages"]
    assert isinstance(pages, list)
    assert [page.text for page in [names["page"], *pages]] == ["0571", "0571"]
