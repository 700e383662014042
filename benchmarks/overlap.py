"""Overlap of sampling, scoring and updates against one after the other, with a slow reward.

    python benchmarks/overlap.py --out benchmarks/results/overlap.json

Both are this library's loop with the same settings; the peer has `rollout.overlap=false`. The reward takes
`--judge-seconds` for each response, so many at a time as a judge's client asks (`--concurrency`). The responses come
from stand-ins of vLLM servers, which answer after `--token-seconds` for each token, so many requests at a time as
`--slots`, and need next to no processor: as engines on other machines do. `--live` starts so many real vLLM servers on
this machine's CPU instead, from the environment that `.ci/vllm` makes. `--urls` takes servers that run already, for a
model that `--model` names.

Each repeat runs the peer and then us, in a process of its own. `ratio` is the peer's seconds per step over ours, from
the first rollout to the last update. `same_bits` says whether both ended with the same weights, which is so with the
stand-ins. Beside the JSON file stands the timeline of the last repeat (`.svg`): a bar for every request, every call of
the reward and every update, coloured by step.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import ROOT, environment, in_process, in_turn, median_ratio, parser, ratios, settings, write

WAYS = {"peer": False, "ours": True}
LANES = ("update", "score", "generate")


class Slow:
    """The reward: an odd number of tokens is right. A response takes ``seconds``, ``concurrency`` at a time."""

    name = "slow"

    def __init__(self, seconds: float, concurrency: int) -> None:
        self.seconds, self.concurrency = seconds, concurrency
        self._slots: asyncio.Semaphore | None = None

    def applies(self, sample: Any) -> bool:
        return True

    async def score(self, samples: Sequence[Any]) -> list[float]:
        self._slots = self._slots or asyncio.Semaphore(self.concurrency)  # of all calls: they share one event loop
        return list(await asyncio.gather(*(self._judged(sample, self._slots) for sample in samples)))

    async def _judged(self, sample: Any, slots: asyncio.Semaphore) -> float:
        async with slots:
            await asyncio.sleep(self.seconds)
        return float(sample.tokens % 2)


def main() -> None:
    made = parser(__doc__, repeats=3)
    made.add_argument("--steps-per-rollout", type=int, default=8)
    made.add_argument("--rollouts", type=int, default=2)
    made.add_argument("--prompts", type=int, default=4, help="of a step")
    made.add_argument("--samples", type=int, default=4, help="of a prompt")
    made.add_argument("--max-new-tokens", type=int, default=128)
    made.add_argument("--width", type=int, default=128, help="of the policy, which has four layers")
    made.add_argument("--judge-seconds", type=float, default=2.0)
    made.add_argument("--concurrency", type=int, default=32, help="responses that are judged at a time")
    made.add_argument("--servers", type=int, default=1)
    made.add_argument("--slots", type=int, default=4, help="requests that a server works on at a time")
    made.add_argument("--token-seconds", type=float, default=0.01)
    made.add_argument("--live", type=int, default=0, help="vLLM servers on this machine's CPU, in place of stand-ins")
    made.add_argument("--urls", nargs="*", help="real vLLM servers")
    made.add_argument("--model", help="the model that the servers of --urls serve")
    made.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.job is not None:
        write(arguments.out, run(**json.loads(arguments.job.read_text(encoding="utf-8"))), show=())
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        model = Path(arguments.model) if arguments.model else policy(Path(folder) / "policy", arguments.width)
        if arguments.live:
            urls = stack.enter_context(live_servers(model, arguments.live))
        else:
            urls = arguments.urls or [stack.enter_context(server(arguments)) for _ in range(arguments.servers)]
        job = {"folder": folder, "model": str(model), "urls": urls, "words": words(arguments)}
        ways = {
            name: partial(in_process, __file__, job | {"name": name, "overlap": overlap})
            for name, overlap in WAYS.items()
        }
        runs = in_turn(ways, arguments.repeats)
        found = summarise(runs, arguments)
        write(arguments.out, found, show=("ratio", "steps_per_hour", "cpu_seconds", "same_bits"))
        draw({name: each[-1]["timeline"] for name, each in runs.items()}, found, arguments.out.with_suffix(".svg"))


def summarise(runs: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> dict[str, Any]:
    seconds = {name: [each["seconds"] / each["steps"] for each in found] for name, found in runs.items()}
    return {
        "ratio": median_ratio(seconds["peer"], seconds["ours"]),
        "peer": "this library's loop with rollout.overlap=false",
        "ratios": [round(each, 3) for each in ratios(seconds["peer"], seconds["ours"])],
        "steps_per_hour": {name: round(3600 / statistics.median(each), 1) for name, each in seconds.items()},
        "seconds_per_step": {name: [round(each, 3) for each in found] for name, found in seconds.items()},
        "cpu_seconds": {name: [round(each["cpu"], 2) for each in found] for name, found in runs.items()},
        "seconds_of_sections": {name: found[-1]["sections"] for name, found in runs.items()},
        "same_bits": len({each["weights"] for found in runs.values() for each in found}) == 1,
        "load_average_of_runs": {name: [each["load"] for each in found] for name, found in runs.items()},
        "settings": settings(arguments, "job"),
        "environment": environment(threads=torch.get_num_threads()),
    }


def words(arguments: argparse.Namespace) -> list[str]:
    """The settings of both runs."""
    reward = f"{{seconds: {arguments.judge_seconds}, concurrency: {arguments.concurrency}}}"
    return [
        "prompts.train=['synthetic:reasoning:train']",
        "prompts.limit=200",
        f"rewards=[{{term: 'overlap:Slow', arguments: {reward}}}]",
        f"steps={arguments.steps_per_rollout * arguments.rollouts}",
        f"steps_per_rollout={arguments.steps_per_rollout}",
        f"prompts_per_step={arguments.prompts}",
        f"samples_per_prompt={arguments.samples}",
        f"max_new_tokens={arguments.max_new_tokens}",
        "max_tokens=2048",
        "ref_update_steps=0",
        "loss.beta=0.001",
        "max_silent_rollouts=0",
        "engine.dtype=fp32",
        "engine.lr=1e-4",
        "save_every=0",
        "loggers=[]",
        "rollout.engine=vllm",
        "rollout.vllm_start_seconds=60",
    ]


# --- one run ----------------------------------------------------------------------------------------------------------


def run(folder: str, name: str, overlap: bool, model: str, urls: list[str], words: list[str]) -> dict[str, Any]:
    """Train; the seconds from the first rollout to the last update, and the timeline."""
    import os
    from zlib import crc32

    from safetensors.torch import load_file

    from align.config import AlignConfig
    from align.trainer import train
    from reward_models.runtime.config import load_config

    sys.path.append(str(ROOT / "tests" / "support"))
    from stand_in_vllm import free_port

    out = Path(folder) / name
    own = [f"rollout.overlap={str(overlap).lower()}", f"rollout.urls={urls}", f"rollout.vllm_group_port={free_port()}"]
    config = load_config(
        AlignConfig, None, [*words, *own, f"model.path={model}", f"output_dir={out}", "overwrite=true"]
    )
    cpu = time.process_time()
    train(config)
    timeline = [json.loads(line) for line in (out / "timeline.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    began = min(line["began"] for line in timeline)
    sections: dict[str, float] = {}
    for line in lines:
        for key, value in line.items():
            if key.startswith("seconds/"):
                sections[key] = round(sections.get(key, 0.0) + value, 3)
    weights = load_file(out / "model.safetensors")
    return {
        "seconds": max(line["began"] + line["seconds"] for line in timeline if line["part"] == "update") - began,
        "steps": config.steps,
        "cpu": time.process_time() - cpu,
        "sections": sections,
        "weights": crc32(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))),
        "load": round(os.getloadavg()[0], 2),
        "timeline": [line | {"began": round(line["began"] - began, 3)} for line in timeline],
    }


# --- the policy and its servers ---------------------------------------------------------------------------------------


def policy(folder: Path, width: int) -> Path:
    """A random policy."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from reward_models.data.chat import train_tokenizer
    from reward_models.data.sources import load

    records = load(["synthetic:reasoning:train"], "prompt", limit=200).records
    tokenizer = train_tokenizer([record.prompt[0].content for record in records], 400)
    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": 4, "num_attention_heads": 4}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen3Config(
        **shape,
        **special,
        num_key_value_heads=2,
        head_dim=width // 4,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def server(arguments: argparse.Namespace) -> Iterator[str]:
    """A stand-in that answers a request after the time that its longest response takes, ``slots`` at a time."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from stand_in_vllm import stand_in

    slots = threading.BoundedSemaphore(arguments.slots)

    def wait(answer: dict[str, Any]) -> dict[str, Any]:
        with slots:
            longest = max(len(choice["token_ids"]) for choice in answer["choices"])
            time.sleep(arguments.token_seconds * longest)
        return answer

    with stand_in() as state:
        state.weighs, state.spoil = True, wait
        state.settings["max_model_len"] = 1024
        yield state.url


@contextmanager
def live_servers(model: Path, number: int) -> Iterator[list[str]]:
    """Real vLLM servers of the policy, one thread each."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from live_vllm import POLICY, launcher

    with launcher() as started:
        servers = [started.start(model, *POLICY, "--max-model-len", "1024") for _ in range(number)]
        yield [each.wait_until_up().url for each in servers]


# --- the picture ------------------------------------------------------------------------------------------------------


def draw(timelines: dict[str, list[dict[str, Any]]], found: dict[str, Any], out: Path) -> None:
    """The timeline of one run of each way; bars of one step have one colour."""
    import matplotlib
    from matplotlib.figure import Figure

    from reward_models.reporting.charts import STYLE

    colours = matplotlib.colormaps["tab10"]
    titles = {"peer": "One after the other", "ours": "With overlap"}
    with matplotlib.rc_context({**STYLE, "axes.grid": False, "svg.hashsalt": "overlap"}):
        figure = Figure(figsize=(10, 5.2), layout="constrained")
        panels = figure.subplots(len(timelines), 1, sharex=True)
        for axes, (name, timeline) in zip(panels, timelines.items(), strict=True):
            rows = found["settings"]["steps_per_rollout"] if name == "ours" else 1
            for line in timeline:
                part = "generate" if line["part"] == "rollout" and name == "peer" else line["part"]
                if part not in LANES:
                    continue
                lane, row = LANES.index(part), (line["step"] - 1) % rows  # steps of a rollout one below the other
                place = lane + 0.4 - 0.8 * (row + 0.5) / rows
                colour = colours((line["step"] - 1) % 10)
                axes.barh(place, line["seconds"], left=line["began"], height=0.7 / rows, color=colour)
            rate = found["steps_per_hour"][name]
            axes.set_yticks(range(len(LANES)), LANES)
            axes.set_title(f"{titles[name]}: {rate:,.0f} steps per hour (median)", loc="left", fontsize=10)
        panels[-1].set_xlabel("seconds; a colour is a step")
        figure.savefig(out, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
