"""The documentation site builds without a warning and without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    doctrees = out.with_name("doctrees")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "-b", "html", "-d", str(doctrees)]
    done = subprocess.run([*command, str(ROOT / "docs"), str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_built_and_searched(site: Path) -> None:
    for page in PAGES:
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file()
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert '"tutorial"' in index
    assert '"reference/configuration"' in index


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img)[^>]+src=\"(https?:[^\"]+)|<link[^>]+stylesheet[^>]+(https?:[^\" ]+)", page.read_text()
        )
        assert not loaded, f"{page}: {loaded}"


def test_settings_and_commands_are_generated(site: Path) -> None:
    configuration = (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    for name in ("prompts_per_step", "clip_low", "zero_stage", "label_smoothing"):
        assert name in configuration
    commands = re.sub(r"<[^>]+>", "", (site / "reference" / "command-line.html").read_text(encoding="utf-8"))
    for name in ("train rm", "train align", "evaluate rm", "data check", "annotate import"):
        assert f"keel {name}" in commands


def test_a_link_to_a_file_of_the_repository_leads_to_its_text(site: Path) -> None:
    page = (site / "architecture.html").read_text(encoding="utf-8")
    assert 'href="source/align/trainer.py.html"' in page
    assert "group_advantages" in (site / "source/align/objective/advantages.py.html").read_text(encoding="utf-8")


def test_the_picture_names_modules_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    names = set(re.findall(r"[\w/]+\.py", text))
    assert len(names) >= 25
    for name in names:
        folders = ("reward_models", "align", "annotation_ui")
        assert any((ROOT / folder / name).is_file() for folder in folders), name
