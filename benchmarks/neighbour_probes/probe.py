"""What every probe of a neighbour shares: the samples, the scores they must get, and the report.

A probe is a script that the neighbour's own environment runs: ``python probe_NAME.py --out FILE --work DIRECTORY``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import socket
import subprocess
import time
import traceback
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REWARDS = "rewards: [{term: accuracy}, {term: format, weight: 0.5}, {term: language, weight: 0.25}]\n"
QUESTIONS = ("What is 1 + 2?", "What is 12 - 5?")
ANSWERS = ("3", "7")
RESPONSES = (
    "<think>One and two.</think><answer>3</answer>",
    "<think>Guessing the number.</think><answer>4</answer>",
    "The answer is hard to say.",
    "<think>Twelve less five.</think><answer>7</answer>",
    "<think>Zwölf weniger fünf ist sieben, das ist ganz einfach.</think><answer>7</answer>",
    "Nothing to say about it here.",
)
# Each response answers each question, so that right ones are wrong elsewhere.
SAMPLES = [(q, answer, response) for q, answer in zip(QUESTIONS, ANSWERS, strict=True) for response in RESPONSES]
LANGUAGE = "en"
PACKAGES = ("torch", "transformers", "numpy", "keel-align", "omegaconf", "deepspeed", "datasets", "ray")


class Report:
    """The cells of the table, and a text for each that is not green or needs words.

    ``steps`` counts what the library's own loop did with our rewards; ``loud`` says that the library, or our bridge,
    stops where the settings that name our rewards have no effect.
    """

    def __init__(self) -> None:
        self.cells: dict[str, bool | int] = {"imports": False, "scores_equal": False, "steps": 0, "loud": False}
        self.notes: dict[str, str] = {}
        self._failed: set[str] = set()

    @contextmanager
    def cell(self, name: str, note: str | None = None, steps: int = 0) -> Iterator[None]:
        """The cell is green if all that was entered under its name ran to its end."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self._failed.add(name)
            self.notes[name] = f"{type(error).__name__}: {str(error)[:500]}"
        if name in self._failed:
            self.cells[name] = 0 if name == "steps" else False
            return
        self.cells[name] = self.cells[name] + steps if name == "steps" else True
        if note is not None:
            self.notes[name] = note

    def write(self, out: Path) -> None:
        versions = {}
        for name in PACKAGES:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        out.write_text(json.dumps(self.cells | {"notes": self.notes, "versions": versions}, indent=1))


def arguments() -> argparse.Namespace:
    """``--out`` and ``--work``; the rewards are named by the environment from here on."""
    made = argparse.ArgumentParser()
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--work", type=Path, required=True, help="directory for files of the probe")
    made.add_argument("--keel-python", type=Path, required=True, help="of an environment with all of Keel")
    found = made.parse_args()
    found.work = found.work.resolve()
    found.work.mkdir(parents=True, exist_ok=True)
    file = found.work / "rewards.yaml"
    file.write_text(REWARDS, encoding="utf-8")
    os.environ["KEEL_REWARD"] = str(file)
    return found


def expected(samples: Sequence[tuple[str, str, str]] = tuple(SAMPLES)) -> list[float]:
    """The rewards of (question, answer, response), as Keel itself gives them."""
    from align.bridges.conversion import as_sample
    from align.bridges.rewarder import rewarder
    from align.rewards.mixer import as_list

    made = [as_sample(q, response, {"answer": answer, "language": LANGUAGE}) for q, answer, response in samples]
    rewards = asyncio.run(rewarder(os.environ["KEEL_REWARD"]).rewards(made, 0))
    return [float("nan") if value is None else value for value in as_list(rewards.reward_N)]


def same(found: Sequence[Any], wanted: Sequence[float], tolerance: float = 1e-6) -> None:
    """Raises ``AssertionError`` with both lists where they differ."""
    values = [float(value) for value in found]
    close = len(values) == len(wanted) and all(abs(a - b) <= tolerance for a, b in zip(values, wanted, strict=True))
    if not close or len(set(wanted)) < 2:
        raise AssertionError(f"{values} instead of {list(wanted)}")


@contextmanager
def raises(error_type: type[BaseException] | tuple[type[BaseException], ...], text: str) -> Iterator[None]:
    """What is inside must fail with this, or the library has ignored it in silence."""
    try:
        yield
    except error_type as error:
        if text not in str(error):
            raise AssertionError(f"{text!r} is not in {error}") from error
    else:
        raise AssertionError(f"nothing was raised; wanted an error with {text!r}")


# --- Keel's own environment, beside the neighbour's -------------------------------------------------------------------


def our_model(given: argparse.Namespace) -> tuple[Path, list[float]]:
    """A reward model of random weights, and its raw scores of the samples."""
    _run_keel(given, [str(Path(__file__).with_name("our_model.py")), str(given.work)])
    return given.work / "model", json.loads((given.work / "scores.json").read_text())


@contextmanager
def keel_server(given: argparse.Namespace) -> Iterator[tuple[str, list[float]]]:
    """``keel serve`` with that model: its address, and the scores it must give."""
    model, scores = our_model(given)
    port = free_port()
    line = [str(given.keel_python), "-m", "keel.cli", "serve", "--model", f"helpful={model}", "--port", str(port)]
    with server(line, _keel_variables(), f"http://127.0.0.1:{port}", given.work / "serve.log") as url:
        yield url, scores


@contextmanager
def server(line: Sequence[str], variables: dict[str, str], url: str, log: Path, seconds: float = 900) -> Iterator[str]:
    """A process that answers ``GET /health``, stopped at the end. ``TimeoutError`` with its log if it does not."""
    with log.open("w") as file:
        process = subprocess.Popen(line, env=variables, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):
                    break
            except OSError:
                time.sleep(1)
        else:
            raise TimeoutError(f"{' '.join(line[:4])} does not answer:\n{log.read_text(errors='replace')[-1500:]}")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def _keel_variables() -> dict[str, str]:
    folder = Path(__file__).resolve().parent
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder.parents[1]), str(folder)])}


def _run_keel(given: argparse.Namespace, line: Sequence[str]) -> None:
    done = subprocess.run(
        [str(given.keel_python), *line], env=_keel_variables(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
