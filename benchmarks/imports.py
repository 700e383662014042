"""The time that imports take, and the modules that they load, each in a fresh process.

    python benchmarks/imports.py --out benchmarks/results/imports.json

``python -X importtime`` gives the wall time of the imports of a module; the least of the repeats is kept, since other
programs on the machine only add to it. ``cpu`` is the least processor time of a process that does the import, less that
of one that does nothing. The TRL bridge is measured after TRL itself: its user has imported that anyway.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import ROOT, environment, parser, settings, write

# Their modules are counted by themselves.
HEAVY = ("torch", "transformers", "deepspeed", "trl", "datasets", "gradio", "matplotlib", "scipy", "sklearn", "sympy")
MODULES = (
    *sorted(f"align.bridges.{file.stem}" for file in (ROOT / "align" / "bridges").glob("[a-z]*.py")),
    *("align.config", "align.rewards.mixer", "align.rewards.build", "align.rewards.explain", "align.schedule"),
    *("align.rewards.verifiers.mathematics", "align.rewards.verifiers.programs", "align.rewards.rules.language"),
    *("align.rewards.models.client", "align.rewards.models.local"),
    *("reward_models", "reward_models.config", "reward_models.data.sources", "reward_models.data.check", "keel.cli"),
)
AIM = 0.3  # seconds


def main() -> None:
    made = parser(__doc__, repeats=5)
    made.add_argument("--root", type=Path, default=ROOT, help="the checkout whose modules are measured")
    made.add_argument(
        "--modules", nargs="*", help="measure these instead of the usual ones; those that fail are left out"
    )
    arguments = made.parse_args()
    found = {}
    idle = _least([_process("pass", arguments.root) for _ in range(arguments.repeats)], "cpu")
    for module in arguments.modules or MODULES:
        runs = [_process(f"import {module}", arguments.root) for _ in range(arguments.repeats)]
        if not all(runs):
            continue
        found[module] = _figures(runs, idle)
        print(f"{module:44} {found[module]}", flush=True)
    after_trl = [_after_trl(arguments.root) for _ in range(arguments.repeats)]
    command = "import sys; from keel.cli import main; sys.argv = ['keel', '--help']; main()"
    called = [_process(command, arguments.root) for _ in range(arguments.repeats)]
    result: dict[str, Any] = {
        "benchmark": "imports",
        "settings": settings(arguments, "root", "modules"),
        "modules": found,
        "bridge_after_trl": {"cpu": min(after_trl), "aim": AIM},
        "help": {**_figures(called, idle), "aim": AIM},
        "environment": environment(),
    }
    write(arguments.out, result, show=("bridge_after_trl", "help"))


def _process(code: str, root: Path) -> dict[str, Any]:
    """What a fresh process needs to run ``code``; empty if it fails.

    Returns:
        ``wall``: seconds of all imports. ``cpu``: seconds of the process. ``modules``: their names.
    """
    with tempfile.TemporaryDirectory() as directory:
        names = Path(directory) / "names"
        note = f"import atexit, sys; atexit.register(lambda: open({str(names)!r}, 'w').write(' '.join(sys.modules)))"
        whole = f"{note}\n{code}"
        command = [sys.executable, "-X", "importtime", "-c", whole]
        env = {**os.environ, "PYTHONPATH": str(root)}
        before = os.times()
        done = subprocess.run(command, env=env, cwd=directory, capture_output=True, text=True, check=False)
        after = os.times()
        if done.returncode:
            return {}
        wall = sum(int(line.split("|")[0].split(":")[1]) for line in done.stderr.splitlines() if _is_import(line)) / 1e6
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return {"wall": wall, "cpu": cpu, "modules": names.read_text(encoding="utf-8").split()}


def _is_import(line: str) -> bool:
    """True for the lines of ``-X importtime`` with figures: self | cumulative | module."""
    return line.startswith("import time:") and line.split("|")[0].split(":")[1].strip().isdecimal()


def _after_trl(root: Path) -> float:
    """Processor time of importing the TRL bridge in a process that has imported TRL's trainer."""
    code = (
        "import time\nfrom trl import GRPOTrainer\nbegan = time.process_time()\nimport align.bridges.trl\n"
        "print(time.process_time() - began)"
    )
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return round(float(done.stdout.splitlines()[-1]), 3)


def _figures(runs: Sequence[Mapping[str, Any]], idle: float) -> dict[str, Any]:
    count = Counter(name.partition(".")[0] for name in runs[0]["modules"])
    return {
        "wall": _least(runs, "wall"),
        "cpu": round(max(0.0, _least(runs, "cpu") - idle), 3),
        "modules": count.total(),
        "heavy": {name: count[name] for name in HEAVY if count[name]},
    }


def _least(runs: Sequence[Mapping[str, Any]], figure: str) -> float:
    return round(min(each[figure] for each in runs), 3)


if __name__ == "__main__":
    main()
