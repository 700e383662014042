"""The built wheel runs: it holds migrations, templates and static files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def test_the_app_works_from_the_wheel(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("annotation_ui", "keel", "reward_models", "align"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    for folder in (
        *("annotation_ui", "annotation_ui/store", "annotation_ui/store/migrations"),
        *("annotation_ui/web", "annotation_ui/web/templates", "annotation_ui/web/assets"),
    ):
        ours = {file.name for file in (ROOT / folder).iterdir() if file.is_file()}
        assert {file.name for file in (site / folder).iterdir() if file.is_file()} == ours, folder
    code = (
        "import sys, annotation_ui.web.pages as pages; from annotation_ui.web import app; from pathlib import Path;"
        "from annotation_ui.store.database import open_database; from annotation_ui.store.accounts import add_user;"
        "assert Path(pages.__file__).is_relative_to(sys.argv[1]);"
        "database = open_database(sys.argv[1] + '/x.db');\n"
        "with database.write() as session: add_user(session, 'ann', 'admin', None, now=0.0)\n"
        "print(pages.act(database, 'ann', {'action': 'annotate'}, now=0.0)['html'], app.css()[:20])"
    )
    command = [sys.executable, "-c", code, str(site)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "No project yet" in done.stdout, done.stderr
    assert "Loading" in demo_page(site, tmp_path)
    points = next(site.glob("*.dist-info")) / "entry_points.txt"
    assert "annotations = annotation_ui.exchange.exporting:rows_of" in points.read_text()


def demo_page(site: Path, folder: Path) -> str:
    """The page that ``keel annotate --demo`` of the wheel serves, in a folder with nothing else of the project."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "keel.cli", "annotate", "--demo", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(site), "TMPDIR": str(folder), "KEEL_ANNOTATE_TOKEN": "of a test"}
    with subprocess.Popen(command, cwd=site, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                try:
                    url = f"http://127.0.0.1:{port}/?token=of+a+test"
                    return httpx.get(url, timeout=10, follow_redirects=True).text
                except httpx.TransportError:
                    assert server.poll() is None
                    time.sleep(0.1)
            raise AssertionError("the server did not start")
        finally:
            server.terminate()
            assert server.wait(20) == 0
            assert not list(folder.glob("keel-annotate-*"))  # thrown away, as the help says
