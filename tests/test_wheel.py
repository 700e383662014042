"""The installed package works from an empty folder: nothing it needs is left behind in the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from training_runs import ENVIRONMENT

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "configs", "reward_models", "align", "annotation_ui", "keel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for building leaves folders in the sources."""
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_presets_and_only_packages_of_ours(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    presets = {path.name for path in (ROOT / "configs" / "reward_model").glob("*.yaml")}
    assert presets == {Path(n).name for n in names if n.startswith("reward_models/presets/")}
    presets = {path.name for path in (ROOT / "configs" / "align").glob("*.yaml")}
    assert presets == {Path(n).name for n in names if n.startswith("align/presets/")}
    presets = {path.name for path in (ROOT / "configs" / "projects").glob("*.yaml")}
    assert presets == {Path(n).name for n in names if n.startswith("keel/presets/")}
    assert {"align/policy/templates/r1.jinja", "align/policy/templates/r1_zero.jinja"} <= set(names)
    assert "reward_models/reporting/templates/page.html" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} <= set(SOURCES) - {"configs"}


def test_an_installed_preset_trains_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True)
    words = ["max_steps=1", "data.limit=40", "data.eval=[]", "batch_size=4", "loggers=[]", "output_dir=run"]
    done = subprocess.run(
        [sys.executable, str(site / "bin" / "keel"), "train", "rm", "--config", "helpful_cpu", *words],
        cwd=empty,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (empty / "run" / "manifest.json").is_file()
