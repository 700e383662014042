"""Ways of waiting for the threads of a matrix product, on an idle machine and beside busy processes.

    python benchmarks/threads.py --out benchmarks/results/threads.json

GNU's OpenMP lets a thread that has nothing to do spin before it sleeps. Beside other work the spinning thread takes the
core from the thread that it waits for. Each way is measured with each piece of work, in a process of its own:

- ``default``: what libgomp does by itself, 300,000 turns;
- ``spin_10000``, ``spin_3000`` and ``spin_1000``: fewer turns; the last is what every program of ours sets;
- ``passive``: none, as with ``OMP_WAIT_POLICY=passive``;
- ``one``: a single thread.

``busy`` processes beside are endless loops in Python. ``idle_cost`` is the best way's rate over that of ``spin_1000``
without them, and ``busy_cost`` one thread's rate over it beside them, both the worst over all pieces of work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from harness import DATA, environment, in_process, in_turn, parser, settings, write

CORES = os.cpu_count() or 1
TURNS = {"default": "300000", "spin_10000": "10000", "spin_3000": "3000", "spin_1000": "1000"}
WAYS: dict[str, dict[str, str]] = {
    **{name: {"GOMP_SPINCOUNT": turns, "OMP_NUM_THREADS": str(CORES)} for name, turns in TURNS.items()},
    "passive": {"GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": str(CORES)},
    "one": {"GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"},
}


CHOSEN = "spin_1000"


class EnoughError(Exception):
    """The time of a training run is over."""


def rate(times: list[float], skip: int) -> float:
    """Units of work per second between the ends of units, without the first ones."""
    return (len(times) - 1 - skip) / (times[-1] - times[skip])


def repeated(unit: Callable[[], object], seconds: float) -> float:
    """Units per second; one unit first, to warm up."""
    unit()
    ends = [time.perf_counter()]
    while len(ends) < 2 or ends[-1] - ends[0] < seconds:
        unit()
        ends.append(time.perf_counter())
    return rate(ends, 0)


# --- the pieces of work ---------------------------------------------------------------------------------------------


def reward_model_training(folder: Path, arguments: argparse.Namespace, words: list[str]) -> float:
    """Optimizer steps per second of ``keel train rm``."""
    from reward_models.config import RewardModelConfig
    from reward_models.runtime.config import load_config
    from reward_models.runtime.metrics import RunLog
    from reward_models.trainer import train

    ends: list[float] = []

    def tick(*_: Any, **__: Any) -> None:
        ends.append(time.perf_counter())
        if len(ends) > 3 and ends[-1] - ends[1] > arguments.seconds:
            raise EnoughError

    RunLog.write = tick  # type: ignore[method-assign]
    words = [*words, f"output_dir={folder / 'run'}", "overwrite=true", "loggers=[]", "eval_every=0", "save_every=0"]
    try:
        train(load_config(RewardModelConfig, "helpful_demo", words))
    except EnoughError:
        return rate(ends, 1)
    raise RuntimeError("training ended before the time was over")


def demo_training(folder: Path, arguments: argparse.Namespace) -> float:
    return reward_model_training(folder, arguments, ["epochs=100"])


def training_135m(folder: Path, arguments: argparse.Namespace) -> float:
    """A model of SmolLM2-135M's shape with random weights; pairs of the same data, 1,024 tokens in a step."""
    from models import MODELS

    shape = [f"model.config.{key}={value}" for key, value in MODELS["135m"].items()]
    return reward_model_training(folder, arguments, [*shape, "epochs=100", "batch_size=4", "max_tokens=1024"])


def rl_step(folder: Path, arguments: argparse.Namespace) -> float:
    """Steps per second of the loop (rollout, rewards, update) with a policy of the demo's size."""
    from rl_step import run_keel

    steps = run_keel(folder, folder / "20.jsonl", arguments)
    return len(steps) / sum(step["step"] for step in steps)


def scoring(folder: Path, arguments: argparse.Namespace) -> float:
    """Calls of ``RewardModel.score`` per second, 8 prompts with 16 samples each; 12.6M parameters."""
    from reward_models import RewardModel

    model = RewardModel.load(folder / "reward_model", device="cpu")
    turns = json.loads((folder / "turns.json").read_text(encoding="utf-8"))
    return repeated(lambda: model.score(turns), arguments.seconds)


def serving(folder: Path, arguments: argparse.Namespace) -> float:
    """Requests of 16 samples of one prompt that ``keel serve`` answers per second, 8 under way."""
    from http_client import free_port, listening
    from serving import load_with
    from serving_servers import Server

    from reward_models import RewardModel
    from reward_models.inference.reward_model import split_turns

    model = RewardModel.load(folder / "reward_model", device="cpu")
    turns = json.loads((folder / "turns.json").read_text(encoding="utf-8"))
    texts = [model.renderer.text(*split_turns(each)) for each in turns]
    queries = [texts[at : at + 16] for at in range(0, len(texts), 16)]
    port = free_port()
    words = ["-m", "keel.cli", "serve", "--model", f"model={folder / 'reward_model'}", "--port", str(port)]
    server = Server(listening([*words, "--device", "cpu"], port, {}), port, "/get_reward")
    bodies = [json.dumps(server.body(each)).encode() for each in queries]
    try:
        return len(bodies) * repeated(lambda: asyncio.run(load_with(server, bodies, 8)), arguments.seconds)
    finally:
        server.stop()


WORK = {each.__name__: each for each in (demo_training, rl_step, scoring, serving, training_135m)}


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """A reward model with conversations, and a policy with prompts."""
    import rl_step_policies
    from models import conversations, save_reward_model
    from transformers import AutoTokenizer

    from reward_models.data.sources import load

    records = load([arguments.data], "comparison").records
    save_reward_model(folder / "reward_model", records, argparse.Namespace(**vars(arguments) | {"model": "12.6m"}))
    turns = conversations(records, AutoTokenizer.from_pretrained(folder / "reward_model"), arguments)
    (folder / "turns.json").write_text(json.dumps(turns), encoding="utf-8")
    shape = {"prompts": 16, "prompt_tokens": [20], "base": None}
    rl_step_policies.prepare(folder, argparse.Namespace(**vars(arguments) | shape))


# --- the measurement ------------------------------------------------------------------------------------------------


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """So many busy processes beside."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    made = parser(__doc__, repeats=2)
    add = made.add_argument
    add("--data", default=str(DATA / "safety" / "hh_harmless_base_pairs.train.jsonl.gz"))
    add("--work", nargs="+", choices=tuple(WORK), default=list(WORK))
    add("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    add("--busy", type=int, nargs="+", default=[0, 2, 4], help="busy processes beside")
    add("--seconds", type=float, default=5.0, help="of each measurement, after its warm-up")
    add("--seed", type=int, default=0)
    add("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.job:
        job = argparse.Namespace(**json.loads(arguments.job.read_text(encoding="utf-8")))
        with tempfile.TemporaryDirectory() as run:
            for path in Path(job.folder).iterdir():
                (Path(run) / path.name).symlink_to(path)
            arguments.out.write_text(json.dumps(WORK[job.name](Path(run), job)), encoding="utf-8")
        return
    found = environment(arguments.seed)
    shape = {"model": "demo", "dtype": "fp32", "device": "cpu", "prompts": 8, "samples": 16, "prompt_tokens": 150}
    shape |= {"completion_tokens": 64, "mean_completion": 24, "steps": 6, "warmup": 1, "ending": "ragged"}
    given = vars(arguments) | shape
    rates: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), argparse.Namespace(**given))
        for busy in arguments.busy:
            with beside(busy):
                for work in arguments.work:
                    job = given | {"folder": name, "name": work}
                    ways = {way: partial(in_process, __file__, job, WAYS[way]) for way in arguments.ways}
                    repeats = in_turn(ways, arguments.repeats)
                    medians = {way: round(statistics.median(values), 4) for way, values in repeats.items()}
                    rates.setdefault(work, {})[str(busy)] = medians
                    print(work, f"beside {busy}", json.dumps(medians), flush=True)
                    result = {"benchmark": "threads", "repeats": arguments.repeats, "units_per_second": rates}
                    result |= costs(rates) | {"settings": settings(arguments, "job"), "environment": found}
                    write(arguments.out, result, ())  # all of it takes an hour
    print(json.dumps(costs(rates)))


def costs(rates: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """The factor by which ``spin_1000`` is slower at worst: than the best way when idle, than one thread when busy."""
    each = [(int(busy), ways) for by_load in rates.values() for busy, ways in by_load.items() if CHOSEN in ways]
    idle = [max(ways.values()) / ways[CHOSEN] for busy, ways in each if busy == 0]
    busy = [ways["one"] / ways[CHOSEN] for busy, ways in each if busy and "one" in ways]
    return {name: round(max(values), 3) for name, values in (("idle_cost", idle), ("busy_cost", busy)) if values}


if __name__ == "__main__":
    main()
