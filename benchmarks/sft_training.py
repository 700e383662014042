"""Supervised fine-tuning: our whole trainer, which packs demonstrations, against TRL's whole ``SFTTrainer``.

    python benchmarks/sft_training.py --out benchmarks/results/sft_training_cpu.json

All start from the same model, read the same token ids and labels, and make the same number of AdamW steps over as many
demonstrations. ``padded`` is TRL with its defaults but for gradient checkpointing, which is off in ours; its sampler
draws the same batches as ours, so that losses can be compared. ``grouped`` groups similar lengths. ``padding_free``
lays the demonstrations of a batch one after the other in one row, as TRL does for flash attention.
Runs take turns, each in a process of its own. Speed is *useful tokens per second*: the demonstrations' tokens, without
padding, over the time between the end of the last warm-up step and the end of the last step. ``ratio`` compares CPU
seconds for the same tokens with the fastest of TRL's ways.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import DATA, clock, environment, in_process, in_turn, median_ratio, parser, peak_memory, settings, write
from models import MODELS
from transformers import AutoConfig, AutoModelForCausalLM

from align.policy.config import PolicyConfig
from align.policy.policy import end_ids
from align.sft.demonstrations import DemonstrationsConfig, load_conversations
from align.sft.encoding import Demonstrations, encode
from align.sft.trainer import SftConfig, tokenizer_for, train
from reward_models.backbone.pretrained import resolve
from reward_models.runtime.metrics import RunLog
from reward_models.runtime.training_config import EngineConfig

PEERS: dict[str, dict[str, Any]] = {
    "padded": {},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "padding_free": {"padding_free": True},
}
IGNORED = -100


class StepClock:
    """Wall and processor time at the end of every step, and the loss."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[float] = []
        self.cpu: list[float] = []
        self.loss: list[float] = []

    def tick(self, loss: float) -> None:
        self.ends.append(clock(self.device))
        self.cpu.append(time.process_time())
        self.loss.append(loss)

    def result(self, useful: list[int], computed: list[int]) -> dict[str, Any]:
        return {
            "ends": self.ends,
            "cpu": self.cpu,
            "loss": self.loss,
            "peak_memory": peak_memory(self.device),
            "useful": useful,
            "computed": computed,
        }


def random_model(name: str, arguments: argparse.Namespace, directory: Path) -> str:
    """Random weights in a shape of :data:`MODELS`, with a tokenizer trained on the demonstrations."""
    conversations, _ = load_conversations(demonstrations(vars(arguments)))
    tokenizer = tokenizer_for(PolicyConfig(config=dict(MODELS[name])), conversations)
    torch.manual_seed(arguments.seed)
    shape = {"vocab_size": len(tokenizer), "tie_word_embeddings": True, **MODELS[name]}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape, **special))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def demonstrations(job: dict[str, Any]) -> DemonstrationsConfig:
    return DemonstrationsConfig(train=[job["data"]], limit=job["limit"], max_length=job["max_length"])


def run_ours(job: dict[str, Any]) -> dict[str, Any]:
    """``align.sft.trainer.train``, as the command line calls it."""
    steps, logged, write_line = StepClock(job["device"]), [], RunLog.write

    def write_and_tick(log: RunLog, step: int, values: Any, **tags: Any) -> None:
        write_line(log, step, values, **tags)
        steps.tick(values["loss"])
        logged.append(dict(values))

    RunLog.write = write_and_tick  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as output:
        config = SftConfig(
            output_dir=output,
            seed=job["seed"],
            model=PolicyConfig(path=job["model"]),
            data=demonstrations(job),
            engine=EngineConfig(
                zero_stage=1 if job["dtype"] == "bf16" else 0,
                dtype=job["dtype"],
                lr=job["lr"],
                schedule="constant",
                warmup=0.0,
            ),
            max_steps=job["steps"],
            epochs=100.0,
            batch_size=job["batch_size"],
            max_tokens=job["max_tokens"],
            save_every=0,
            loggers=[],
        )
        train(config)
    read = [0.0, *(values["tokens"] for values in logged)]
    useful = [int(after - before) for before, after in pairwise(read)]
    computed = [round(n / values["useful"]) for n, values in zip(useful, logged, strict=True)]
    return steps.result(useful, computed) | {"filled": [round(values["filled"], 4) for values in logged]}


def run_peer(job: dict[str, Any]) -> dict[str, Any]:
    """``trl.SFTTrainer``: our optimizer settings, its own everything else but for :data:`PEERS`."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig as TrlConfig
    from trl import SFTTrainer

    steps, useful, computed = StepClock(job["device"]), [], []

    class Tick(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                steps.tick(float(logs["loss"]))

    source = PolicyConfig(path=job["model"])
    conversations, _ = load_conversations(demonstrations(job))
    tokenizer = tokenizer_for(source, conversations)
    data: Demonstrations = encode(conversations, tokenizer, job["max_length"], end_ids(source))
    columns = {
        "input_ids": [data.ids(place).tolist() for place in range(len(data))],
        "labels": [np.where(data.learnt(i), data.ids(i), IGNORED).tolist() for i in range(len(data))],
    }
    dtype = torch.bfloat16 if job["dtype"] == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(resolve(source), dtype=dtype)
    with tempfile.TemporaryDirectory() as output:
        arguments = TrlConfig(
            output_dir=output,
            seed=job["seed"],
            max_steps=job["steps"],
            per_device_train_batch_size=job["peer_batch"],
            gradient_accumulation_steps=job["batch_size"] // job["peer_batch"],
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            gradient_checkpointing=False,
            learning_rate=job["lr"],
            lr_scheduler_type="constant",
            adam_beta2=0.95,
            optim="adamw_torch",
            bf16=job["dtype"] == "bf16",
            use_cpu=job["device"] == "cpu",
            dataloader_pin_memory=job["device"] != "cpu",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **PEERS[job["way"]],
        )
        trainer = SFTTrainer(
            model, arguments, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer, callbacks=[Tick()]
        )
        collate = trainer.data_collator

        def counting(rows: list[dict[str, Any]]) -> Any:
            batch = collate(rows)
            useful.append(sum(len(row["input_ids"]) for row in rows))
            computed.append(batch["input_ids"].numel())
            return batch

        trainer.data_collator = counting
        trainer.train()
    parts = job["batch_size"] // job["peer_batch"]
    return steps.result(*([sum(n[at : at + parts]) for at in range(0, len(n), parts)] for n in (useful, computed)))


def work(job: dict[str, Any], out: Path) -> None:
    """One run, in this process."""
    torch.set_num_threads(job["threads"])
    out.write_text(json.dumps(run_ours(job) if job["way"] == "keel" else run_peer(job)), encoding="utf-8")


def summarise(run: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Figures over the steps after the warm-up."""
    first, last = job["warmup"], job["steps"]
    useful, computed = sum(run["useful"][first:last]), sum(run["computed"][first:last])
    seconds = run["ends"][last - 1] - run["ends"][first - 1]
    cpu = run["cpu"][last - 1] - run["cpu"][first - 1]
    return {
        "useful_tokens_per_second": useful / seconds,
        "useful_tokens_per_cpu_second": useful / cpu,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory": run["peak_memory"],
        "tokens": {"useful": useful, "computed": computed, "useful_of_computed": round(useful / computed, 4)},
        "loss": run["loss"],
        "load_average": round(os.getloadavg()[0], 2),
        **({"filled": run["filled"]} if "filled" in run else {}),
    }


def main() -> None:
    made = parser(__doc__, repeats=1, device=True)
    made.add_argument("--model", default="12.6m", help=f"path, as model.path, or random weights: {', '.join(MODELS)}")
    made.add_argument("--data", default=str(DATA / "math" / "gsm8k.train.jsonl.gz"))
    made.add_argument("--limit", type=int, default=400, help="rows read")
    made.add_argument("--max-length", type=int, default=1024)
    made.add_argument("--steps", type=int, default=4)
    made.add_argument("--warmup", type=int, default=1, help="of the steps, not timed")
    made.add_argument("--batch-size", type=int, default=16, help="demonstrations of a step")
    made.add_argument("--peer-batch", type=int, default=16, help="TRL's demonstrations of a micro-batch")
    made.add_argument("--max-tokens", type=int, default=4096, help="our tokens of a micro-batch")
    made.add_argument("--job", type=Path, help=argparse.SUPPRESS)  # one run, in a process of its own
    made.add_argument("--lr", type=float, default=1e-5)
    made.add_argument("--peers", nargs="+", choices=tuple(PEERS), default=tuple(PEERS))
    arguments = made.parse_args()
    if arguments.job is not None:
        work(json.loads(arguments.job.read_text(encoding="utf-8")), arguments.out)
        return
    job = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items() if k not in ("out", "job")}

    def once(way: str) -> dict[str, Any]:
        variables = {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1"}
        found = summarise(in_process(__file__, job | {"way": way}, variables), job)
        print(f"{way:13} {found['useful_tokens_per_second']:8,.0f} tokens/s, {found['peak_memory'] / 2**30:.2f} GiB")
        return found

    with tempfile.TemporaryDirectory() as folder:
        if arguments.model in MODELS:
            job["model"] = random_model(arguments.model, arguments, Path(folder))
        runs = in_turn({way: partial(once, way) for way in ("keel", *arguments.peers)}, arguments.repeats)
    medians = {
        way: {
            key: statistics.median(run[key] for run in found)
            for key in ("useful_tokens_per_second", "useful_tokens_per_cpu_second", "cpu_seconds", "peak_memory")
        }
        for way, found in runs.items()
    }
    cpu = {way: [1 / run["useful_tokens_per_cpu_second"] for run in found] for way, found in runs.items()}
    ratios = {way: median_ratio(cpu[way], cpu["keel"]) for way in arguments.peers}
    result = {
        "ratio": min(ratios.values()),  # to the fastest of TRL's ways, in CPU seconds for the same tokens
        "ratios_in_cpu_seconds": ratios,
        "medians": medians,
        "first_loss_less_ours": {
            way: runs[way][0]["loss"][0] - runs["keel"][0]["loss"][0] for way in arguments.peers if way != "grouped"
        },
        "settings": settings(arguments, "job"),
        "environment": environment(arguments.seed, arguments.threads),
        "runs": runs,
    }
    write(arguments.out, result, ("ratio", "ratios_in_cpu_seconds", "medians", "first_loss_less_ours"))


if __name__ == "__main__":
    main()
