"""The modules that an import loads, counted in a fresh process: the result does not depend on the machine's speed.

Each budget is a little above the count of the day it was set. A module that needs more shows that something heavy moved
in: find it with ``python -X importtime -c "import MODULE"``, and raise the budget only with a reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from align.rewards.build import TERMS

ROOT = Path(__file__).parents[1]
HEAVY = ("deepspeed", "gradio", "trl", "datasets", "matplotlib", "torch", "transformers", "sklearn", "scipy", "sympy")
BRIDGES = sorted(f"align.bridges.{file.stem}" for file in (ROOT / "align" / "bridges").glob("[a-z]*.py"))
# Module → most modules that it loads, the standard library's included.
BUDGETS = {
    "reward_models.data.sources": 220,
    "reward_models.data.check": 380,
    "reward_models.config": 360,
    "align.config": 280,
    "align.rewards.mixer": 350,
    "align.rewards.build": 250,
    "align.rewards.explain": 250,
    "align.rewards.models.client": 430,
    "align.rewards.models.remote": 430,
    "align.schedule": 110,
    **dict.fromkeys(BRIDGES, 640),
}
RULES_AT_WORK = """
from align.bridges.rewarder import rewarder, run
from align.rewards.terms import Sample
from reward_models.data.records import Message

words = "rewards=[{term: accuracy_choice}, {term: format}, {term: language}, {term: repetition}]"
sample = Sample(
    prompt=(Message("user", "(A) 3 (B) 4: which is 2 + 2?"),),
    response="<think>2 + 2 is four, so B.</think><answer>B</answer>",
    answer="B", domain="reasoning", language="en", tokens=9, finished=True, columns={"verifier": "choice"},
)
assert run(rewarder(None, [words]).rewards([sample], 0)).reward_N.tolist() == [3.0]
"""


def loaded(code: str) -> Counter[str]:
    """Top-level package → number of its modules after the code has run in a fresh process."""
    count = "import collections, json, sys\nprint(json.dumps([name for name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{count}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Counter(name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1]))


def test_every_bridge_has_a_budget() -> None:
    assert len(BRIDGES) >= 9
    assert set(BRIDGES) <= BUDGETS.keys()


@pytest.mark.parametrize("module", BUDGETS)
def test_import_budget(module: str) -> None:
    found = loaded(f"import {module}")
    assert not {name: found[name] for name in HEAVY if found[name]}
    assert found.total() <= BUDGETS[module], found.most_common(12)


@pytest.mark.parametrize("term", TERMS)
def test_import_budget_of_a_term(term: str) -> None:
    """Its class is imported and its arguments are checked; a reward model is one behind a server."""
    arguments = "{'urls': ['http://127.0.0.1:9']}" if term in ("helpful", "safety") else "{}"
    found = loaded(
        "from align.rewards.build import TermConfig, check_terms\n"
        f"check_terms([TermConfig(term={term!r}, arguments={arguments})])"
    )
    assert not {name: found[name] for name in HEAVY if found[name]}
    assert found.total() <= 480, found.most_common(12)


def test_import_budget_of_rules_at_work() -> None:
    """A mixture of rules, read from a configuration, built and asked for rewards, never needs torch."""
    found = loaded(RULES_AT_WORK)
    assert not {name: found[name] for name in HEAVY if found[name]}


def test_import_budget_of_help() -> None:
    found = loaded(
        "import sys\nfrom keel.cli import app\nfrom typer.testing import CliRunner\n"
        "result = CliRunner().invoke(app, ['--help'])\nassert result.exit_code == 0 and 'annotate' in result.output"
    )
    assert not {name: found[name] for name in (*HEAVY, "numpy", "omegaconf", "yaml") if found[name]}
    assert found.total() <= 385, found.most_common(12)
