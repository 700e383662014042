"""The two trainers of ``rm_training.py``: ours and TRL's ``RewardTrainer``, each in a process of its own."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import clock, limit_memory, peak_memory
from rm_training_pairs import data_config, hash_sequences

from reward_models.backbone.config import ModelConfig
from reward_models.config import RewardModelConfig
from reward_models.runtime.training_config import EngineConfig
from reward_models.trainer import train

# What TRL sets differently from its defaults. It reads the shuffled pairs in order, so that its batches are ours; its
# random sampler draws batches of the same kind. Gradient checkpointing, on by default in TRL, is off in ours: only
# "shipped" keeps it.
PEERS: dict[str, dict[str, Any]] = {
    "defaults": {"gradient_checkpointing": False, "train_sampling_strategy": "sequential"},
    "tuned": {
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
        "length_column_name": "length",
        "remove_unused_columns": False,
    },
    "shipped": {"train_sampling_strategy": "sequential"},
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one trainer, as handed to its process."""

    variant: str
    workspace: str
    device: str
    dtype: str
    pairs_per_step: int
    peer_micro_pairs: int
    steps: int
    seed: int
    threads: int
    max_tokens: int
    max_length: int
    zero_stage: int
    lr: float
    memory_gib: float | None = None

    @property
    def model(self) -> str:
        return str(Path(self.workspace) / "model")


class StepClock:
    """Wall and processor time at the end of every optimizer step, and the peak memory of the process."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[float] = []
        self.cpu: list[float] = []
        self.peak_memory = 0

    def tick(self) -> None:
        self.ends.append(clock(self.device))
        self.cpu.append(time.process_time())
        self.peak_memory = peak_memory(self.device)


# --- the two trainers -----------------------------------------------------------------------------------------------


def run_ours(job: Job) -> dict[str, Any]:
    """``reward_models.trainer.train``, as the command line calls it."""
    from reward_models.runtime.metrics import RunLog

    steps = StepClock(job.device)
    write = RunLog.write
    logged: list[dict[str, float]] = []

    def write_and_tick(log: RunLog, step: int, values: Any, **tags: Any) -> None:
        write(log, step, values, **tags)
        steps.tick()
        logged.append(dict(values))

    RunLog.write = write_and_tick  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as output:
        train(our_config(job, output))
    return {
        "ends": steps.ends,
        "cpu": steps.cpu,
        "peak_memory": steps.peak_memory,
        "loss": [v["loss"] for v in logged],
        "grad_norm": [v["grad_norm"] for v in logged],
    }


def our_config(job: Job, output: str) -> RewardModelConfig:
    return RewardModelConfig(
        output_dir=output,
        seed=job.seed,
        model=ModelConfig(path=job.model),
        data=data_config(str(Path(job.workspace) / "pairs.jsonl"), job.max_length),
        engine=EngineConfig(
            zero_stage=job.zero_stage,
            dtype=job.dtype,  # type: ignore[arg-type]
            lr=job.lr,
            schedule="constant",
            warmup=0.0,
        ),
        max_steps=job.steps,
        batch_size=job.pairs_per_step,
        max_tokens=job.max_tokens,
        save_every=0,
        loggers=[],
    )


def run_peer(job: Job) -> dict[str, Any]:
    """``trl.RewardTrainer``: our optimizer settings, its own everything else but for :data:`PEERS`."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    steps = StepClock(job.device)
    seen: list[tuple[int, int]] = []
    logged: list[dict[str, float]] = []

    class Collator(DataCollatorForPreference):
        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch = super().torch_call(examples)
            mask = batch["attention_mask"]
            seen.append((int(mask.sum()), mask.numel()))
            return batch

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.tick()

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                logged.append(logs)

    engine = our_config(job, "").engine
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    drawn = Path(job.workspace) / "drawn.jsonl"
    with tempfile.TemporaryDirectory() as output:
        settings = RewardConfig(
            output_dir=output,
            seed=job.seed,
            per_device_train_batch_size=job.peer_micro_pairs,
            gradient_accumulation_steps=job.pairs_per_step // job.peer_micro_pairs,
            max_steps=job.steps,
            max_length=job.max_length,
            learning_rate=engine.lr,
            lr_scheduler_type=engine.schedule,
            adam_beta1=engine.betas[0],
            adam_beta2=engine.betas[1],
            adam_epsilon=engine.eps,
            weight_decay=engine.weight_decay,
            max_grad_norm=engine.grad_clip,
            bf16=job.dtype == "bf16",
            use_cpu=job.device == "cpu",
            logging_steps=1,  # as ours
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **PEERS[job.variant],
        )
        trainer = RewardTrainer(
            model=job.model,
            args=settings,
            data_collator=Collator(pad_token_id=tokenizer.pad_token_id),
            train_dataset=Dataset.from_list(
                [json.loads(line) for line in drawn.read_text(encoding="utf-8").splitlines()]
            ),
            processing_class=tokenizer,
            callbacks=[Watch()],
        )
        assert trainer.train_dataset is not None
        both = zip(trainer.train_dataset["chosen_ids"], trainer.train_dataset["rejected_ids"], strict=True)
        token_hash = hash_sequences(ids for pair in both for ids in pair)
        trainer.train()
    parts = job.pairs_per_step // job.peer_micro_pairs
    per_step = np.array(seen[: job.steps * parts]).reshape(job.steps, parts, 2).sum(1)
    return {
        "ends": steps.ends,
        "cpu": steps.cpu,
        "peak_memory": steps.peak_memory,
        "loss": [v["loss"] for v in logged],
        "grad_norm": [v["grad_norm"] for v in logged],
        "useful_tokens": per_step[:, 0].tolist(),
        "computed_tokens": per_step[:, 1].tolist(),
        "token_hash": token_hash,
    }


def work(job: Job) -> dict[str, Any]:
    """Train once, in this process."""
    torch.set_num_threads(job.threads)
    limit_memory(job.memory_gib)
    return run_ours(job) if job.variant == "keel" else run_peer(job)
