"""A missing extra is one line: what is missing, what for, and the command that installs it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from keel.failures import failures
from reward_models.extras import EXTRAS, MissingExtraError, needs

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Distribution → the module it is imported as, where the names differ. None: other packages import it, not ours.
MODULES = {
    "scikit-learn": "sklearn",
    "markdown-it-py": "markdown_it",
    "mdit-py-plugins": "mdit_py_plugins",
    "ninja": None,
    "reasoning-gym": "reasoning_gym",
}
# Modules that another package brings, which its requirements make certain.
BROUGHT = {"starlette", "pydantic", "h11", "mako", "markupsafe", "joserfc"}


def distributions(extra: str) -> set[str]:
    found = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        if inside := re.match(r"keel-align\[(.*)\]", requirement):
            found |= {name for each in inside[1].split(",") for name in distributions(each)}
        else:
            found.add(re.split(r"[<>=~;\[ ]", requirement)[0])
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_that_it_installs(extra: str) -> None:
    own = {MODULES.get(name, name) for name in distributions(extra)} - {None}
    listed = set(EXTRAS[extra][1])
    assert listed - BROUGHT <= own
    if extra not in ("postgres", "oidc"):  # they hold the extra annotate, which the app has asked for before
        assert own <= listed


def test_all_is_every_use_and_dev_holds_it() -> None:
    assert distributions("all") == distributions("train") | distributions("serve") | distributions("annotate")
    assert distributions("all") < distributions("dev")
    base = {re.split(r"[<>=~;\[ ]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert not base & distributions("all")


def test_the_message_names_the_use_and_the_command() -> None:
    with pytest.raises(MissingExtraError) as caught, needs("train"):
        raise ModuleNotFoundError("No module named 'deepspeed.ops'", name="deepspeed.ops")
    assert str(caught.value) == (
        "deepspeed is not installed; it is needed for training, evaluation and data sets of the hub: "
        "pip install 'keel-align[train]'"
    )
    with pytest.raises(MissingExtraError, match=r"'keel-align\[models\]'"), needs("train"), needs("models"):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def test_a_module_that_no_extra_brings_is_a_fault_of_the_program() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'reward_modles'"), needs("train"):
        raise ModuleNotFoundError("No module named 'reward_modles'", name="reward_modles")


def test_a_command_ends_with_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, failures("annotate"):
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == (
        "gradio is not installed; it is needed for the annotation app: pip install 'keel-align[annotate]'\n"
    )


def without(*modules: str) -> str:
    """Code after which these modules are as if they were not installed."""
    return f"""
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize(
    ("modules", "words", "extra"),
    [
        (("torch",), "train rm --config helpful_cpu", "train"),
        (("torch",), "train sft --config sft_cpu", "train"),
        (("transformers",), "train align --config cpu --dry-run", "train"),
        (("torch",), "score --model a --data b --out c.json", "models"),
        (("matplotlib",), "evaluate rm --model a --data b --out c", "train"),
        (("fastapi",), "serve --model a=b", "serve"),
        (("torch",), "serve --model a=b", "serve"),
        (("sqlalchemy",), "annotate --demo", "annotate"),
        (("gradio",), "annotate --demo", "annotate"),
        (("alembic",), "annotate import a.jsonl --project p", "annotate"),
        (("datasets",), "data check owner/name:train", "train"),
        (("reasoning_gym",), "data check reasoning_gym:lcm", "reasoning"),
        (("pg8000",), "annotate export out --db postgresql://127.0.0.1:9/x --project p", "postgres"),
        (("matplotlib",), "report runs/x", "train"),
        (("huggingface_hub",), "push runs/x owner/name", "train"),
        (("torch",), "rewards try --term helpful --data rows.jsonl --out o.jsonl --set model=x", "models"),
    ],
)
def test_every_command_without_its_extra(modules: tuple[str, ...], words: str, extra: str, tmp_path: Path) -> None:
    code = f"{without(*modules)}\nfrom keel.cli import main\nsys.argv = ['keel', *{words.split()!r}]\nmain()"
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n', encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(f"{modules[0]} is not installed; it is needed for ")
    assert lines[-1].endswith(f": pip install 'keel-align[{extra}]'")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("modules", "code", "extra"),
    [
        (("torch",), "from reward_models import RewardModel", "models"),
        (("torch",), "import reward_models.trainer", "train"),
        (("fastapi",), "import reward_models.serving.app", "serve"),
        (("sqlalchemy",), "import annotation_ui.store.database", "annotate"),
        (("gradio",), "import annotation_ui.web.server", "annotate"),
        (
            ("torch",),
            "from align.bridges.trl import TermReward; TermReward('helpful', model='x')([], [])",
            "models",
        ),
        (
            ("transformers",),
            "from align.rewards.models.remote import RemoteReward as R; "
            "R(task='safety', urls=['http://127.0.0.1:9'], protocol='vllm_classify', reference='x')",
            "models",
        ),
    ],
)
def test_python_without_an_extra(modules: tuple[str, ...], code: str, extra: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", without(*modules) + code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"{modules[0]} is not installed; it is needed for " in last
    assert last.endswith(f": pip install 'keel-align[{extra}]'")
