"""Training a pairwise reward model: our whole trainer against TRL's whole ``RewardTrainer``.

    python benchmarks/rm_training.py --out benchmarks/results/rm_training_cpu_fp32.json --dtype fp32

Both start from the same saved model (score head included), read the same pairs as the same token ids, and make the same
number of AdamW steps over the same number of pairs. Runs take turns, each in a process of its own. Speed is *useful
tokens per second*: the tokens of both transcripts of every pair, without padding, over the time between the end of the
last warm-up step and the end of the last step.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import ROOT, environment

from reward_models.backbone.config import ModelConfig
from reward_models.config import RewardModelConfig
from reward_models.data.batching import EpochSampler
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.encode import TokenizedSet
from reward_models.dataset import DataConfig, load_records, tokenize
from reward_models.model import build_model
from reward_models.runtime.engine import EngineConfig
from reward_models.trainer import train

QWEN3 = {"model_type": "qwen3", "max_position_embeddings": 4096}
MODELS: dict[str, dict[str, Any]] = {
    "12.6m": QWEN3
    | {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 7,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 64,
    },
    "qwen3-0.6b": QWEN3
    | {
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "qwen3-1.7b": QWEN3
    | {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}

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
RATIOS = {"ratio": "defaults", "ratio_tuned": "tuned", "ratio_shipped": "shipped"}

# Dense bf16 matrix products, FLOP/s, from the makers' data sheets.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}


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

    @property
    def model(self) -> str:
        return str(Path(self.workspace) / "model")


class Clock:
    """End of every optimizer step, and the process's peak memory at that moment."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[float] = []
        self.peak_memory = 0

    def tick(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        self.peak_memory = torch.cuda.max_memory_allocated() if self.device == "cuda" else _peak_resident_set()


def _peak_resident_set() -> int:
    # getrusage() would count the parent's pages too, which a process keeps as its peak across exec.
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


# --- the two trainers -----------------------------------------------------------------------------------------------


def run_ours(job: Job) -> dict[str, Any]:
    """``reward_models.trainer.train``, as the command line calls it."""
    from reward_models.runtime.metrics import RunLog

    clock = Clock(job.device)
    write = RunLog.write
    logged: list[dict[str, float]] = []

    def write_and_tick(log: RunLog, step: int, values: Any, **tags: Any) -> None:
        write(log, step, values, **tags)
        clock.tick()
        logged.append(dict(values))

    RunLog.write = write_and_tick  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as output:
        train(our_config(job, output))
    return {
        "ends": clock.ends,
        "peak_memory": clock.peak_memory,
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


def data_config(pairs: str, max_length: int) -> DataConfig:
    """Every pair is trained on: nothing is held out."""
    return DataConfig(train=[pairs], eval_fraction=0.0, calibration_fraction=0.0, max_length=max_length, span="full")


def run_peer(job: Job) -> dict[str, Any]:
    """``trl.RewardTrainer``: our optimizer settings, its own everything else but for :data:`PEERS`."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    clock = Clock(job.device)
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
            clock.tick()

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
        "ends": clock.ends,
        "peak_memory": clock.peak_memory,
        "loss": [v["loss"] for v in logged],
        "grad_norm": [v["grad_norm"] for v in logged],
        "useful_tokens": per_step[:, 0].tolist(),
        "computed_tokens": per_step[:, 1].tolist(),
        "token_hash": token_hash,
    }


def work(job: Job) -> dict[str, Any]:
    """What the run's own process does."""
    torch.set_num_threads(job.threads)
    return run_ours(job) if job.variant == "keel" else run_peer(job)


def run_in_process(job: Job) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        given, result = Path(directory) / "job.json", Path(directory) / "result.json"
        given.write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
        variables = {
            "OMP_NUM_THREADS": str(job.threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **({"CUDA_VISIBLE_DEVICES": ""} if job.device == "cpu" else {}),
        }
        done = subprocess.run(
            [sys.executable, __file__, "--job", str(given), "--out", str(result)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not result.is_file():
            raise RuntimeError(f"{job.variant} failed with status {done.returncode}:\n{done.stderr[-4000:]}")
        return json.loads(result.read_text(encoding="utf-8"))


# --- what both are given --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Token counts of the training pairs, by their place in the data file, and the order they are drawn in."""

    order: np.ndarray
    useful: np.ndarray
    shared: np.ndarray
    longest: np.ndarray
    attended: np.ndarray
    attended_shared: np.ndarray
    token_hash: str


def prepare(workspace: Path, arguments: argparse.Namespace) -> Pairs:
    """Write what both trainers start from: a model with its tokenizer, and the pairs in two orders.

    Ours draws its batches from ``pairs.jsonl``; ``drawn.jsonl`` holds the same pairs in the order in which they are
    drawn, for a trainer that reads them one after the other.
    """
    source = arguments.data
    if source == "synthetic":
        source = str(workspace / "synthetic.jsonl")
        rows = synthetic_rows(64 * arguments.pairs_per_step, np.random.default_rng(arguments.seed))
        _write_lines(Path(source), rows)
    records = load_records(data_config(source, arguments.max_length), "preference")
    tokenizer = train_tokenizer(records.texts, 4096)
    data = tokenize(records, ChatRenderer(tokenizer, "full"), data_config(source, arguments.max_length)).train
    if data.truncated or data.dropped:
        raise ValueError("a pair is longer than --max-length, where the two trainers differ in what they do about it")

    torch.manual_seed(arguments.seed)
    scorer = build_model(ModelConfig(config=MODELS[arguments.model]), tokenizer, "preference", torch.float32)
    scorer.classifier.save_pretrained(workspace / "model")
    tokenizer.save_pretrained(workspace / "model")

    sampler = EpochSampler(len(data), arguments.pairs_per_step, arguments.seed)
    order = np.concatenate([sampler.step(step) for step in range(sampler.steps_per_epoch)])
    longest = np.array([lengths.max() for lengths in data.branch_lengths])
    rows = [_row(record, int(length)) for record, length in zip(records.train, longest, strict=True)]
    _write_lines(workspace / "pairs.jsonl", rows)
    _write_lines(workspace / "drawn.jsonl", [rows[i] for i in order])
    attended, shared = zip(*(_attended(data, item) for item in range(len(data))), strict=True)
    return Pairs(
        order=order,
        useful=data.unshared_tokens,
        shared=data.tree_tokens,
        longest=longest,
        attended=np.array(attended),
        attended_shared=np.array(shared),
        token_hash=hash_sequences(ids for item in order for ids in data.tree(item).sequences),
    )


def synthetic_rows(count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Pairs of 512 to 2,048 words, of which the prompt has between half and nine tenths; a word is about a token."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 7))) for _ in range(2000)]

    def text(length: int) -> str:
        return " ".join(words[i] for i in rng.integers(len(words), size=length))

    rows = []
    for number in range(count):
        total = int(rng.integers(512, 2049))
        prompt = int(total * rng.uniform(0.5, 0.9))
        replies = [[{"role": "assistant", "content": text(total - prompt)}] for _ in range(2)]
        question = [{"role": "user", "content": text(prompt)}]
        rows.append({"id": str(number), "prompt": question, "chosen": replies[0], "rejected": replies[1]})
    return rows


def hash_sequences(sequences: Iterable[Sequence[int]]) -> str:
    digest = hashlib.sha256()
    for ids in sequences:
        digest.update(np.asarray([len(ids), *ids], dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]


def _row(record: Any, length: int) -> dict[str, Any]:
    chosen, rejected = record.response_a, record.response_b
    if record.label == "b":
        chosen, rejected = rejected, chosen
    parts = {"prompt": record.prompt, "chosen": chosen, "rejected": rejected}
    messages = {name: [{"role": m.role, "content": m.content} for m in part] for name, part in parts.items()}
    return {"id": record.id, **messages, "length": length}


def _attended(data: TokenizedSet, item: int) -> tuple[int, int]:
    """How many (query, key) pairs a pair's attention has: both transcripts apart, and with the prompt computed once."""
    tree = data.tree(item)
    triangles = [len(ids) * (len(ids) + 1) // 2 for ids in tree.sequences]
    prompt = len(tree.prompt)
    return sum(triangles), sum(triangles) - (len(triangles) - 1) * prompt * (prompt + 1) // 2


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- measuring ------------------------------------------------------------------------------------------------------


def measure(dtype: str, workspace: Path, pairs: Pairs, arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs of one dtype, in turn, and what they come to."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ("keel", *arguments.peers)}
    for repeat in range(arguments.repeats):
        for name in runs:
            run = summarise(name, run_in_process(job(name, dtype, workspace, arguments)), pairs, arguments)
            runs[name].append(run)
            print(
                f"{dtype} {repeat + 1}/{arguments.repeats} {name:9} {run['useful_tokens_per_second']:8,.0f} tokens/s"
                f"  {run['seconds']:6.1f} s  peak {run['peak_memory'] / 2**30:.2f} GiB  load {run['load_average']}",
                flush=True,
            )
    medians = {
        name: {
            "useful_tokens_per_second": statistics.median(run["useful_tokens_per_second"] for run in group),
            "peak_memory": statistics.median(run["peak_memory"] for run in group),
            "tokens": group[0]["tokens"],
        }
        for name, group in runs.items()
    }
    result: dict[str, Any] = {}
    for key, peer in RATIOS.items():
        if peer in runs:
            result[key] = _ratios(runs["keel"], runs[peer])
    spread = {f"{key}_of_each_repeat": values for key, values in result.items()}
    return {
        **{key: round(statistics.median(values), 3) for key, values in result.items()},
        **spread,
        "medians": medians,
        "equivalence": equivalence(runs),
        "runs": runs,
    }


def job(variant: str, dtype: str, workspace: Path, arguments: argparse.Namespace) -> Job:
    return Job(
        variant=variant,
        workspace=str(workspace),
        device=arguments.device,
        dtype=dtype,
        pairs_per_step=arguments.pairs_per_step,
        peer_micro_pairs=arguments.peer_micro_pairs or arguments.pairs_per_step,
        steps=arguments.steps,
        seed=arguments.seed,
        threads=arguments.threads,
        max_tokens=arguments.max_tokens,
        max_length=arguments.max_length,
        zero_stage=1 if dtype == "bf16" else 0,
        lr=arguments.lr,
    )


def summarise(variant: str, run: dict[str, Any], pairs: Pairs, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speed over the steps after the warm-up, and how many tokens those steps had and computed."""
    timed = slice(arguments.warmup, arguments.steps)
    drawn = [pairs.order[i * arguments.pairs_per_step :][: arguments.pairs_per_step] for i in range(arguments.steps)]
    if variant == "keel":
        run["useful_tokens"] = [int(pairs.useful[items].sum()) for items in drawn]
        run["computed_tokens"] = [int(pairs.shared[items].sum()) for items in drawn]
    elif run["token_hash"] != pairs.token_hash:
        raise RuntimeError("the two trainers do not read the same token ids")
    useful, computed = sum(run["useful_tokens"][timed]), sum(run["computed_tokens"][timed])
    seconds = run["ends"][-1] - run["ends"][arguments.warmup - 1]
    result = {
        "useful_tokens_per_second": useful / seconds,
        "seconds": seconds,
        "peak_memory": run["peak_memory"],
        "load_average": round(os.getloadavg()[0], 2),
        "tokens": {"useful": useful, "computed": computed, "computed_per_useful": round(computed / useful, 4)},
        "loss": run["loss"],
        "grad_norm": run["grad_norm"],
        "step_seconds": [round(b - a, 4) for a, b in zip(run["ends"], run["ends"][1:], strict=False)],
    }
    if peak := peak_flops(arguments):
        share = {
            name: share * useful / pairs.useful.sum() / (seconds * peak) for name, share in flops(pairs, arguments)
        }
        result["share_of_peak_flops"] = share
    return result


def _ratios(ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> list[float]:
    """Repeat by repeat: neighbours in time had the same machine."""
    key = "useful_tokens_per_second"
    return [round(a[key] / b[key], 3) for a, b in zip(ours, peer, strict=True)]


def equivalence(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How far the losses of trainers on the same batches are apart, and the mean losses of the one that saw others."""
    ours = runs["keel"][0]
    result: dict[str, Any] = {"mean_loss": {name: float(np.mean(group[0]["loss"])) for name, group in runs.items()}}
    for name, group in runs.items():
        if PEERS.get(name, {}).get("train_sampling_strategy") == "sequential":
            gap = np.abs(np.array(ours["loss"]) - np.array(group[0]["loss"]))
            norms = np.array(group[0]["grad_norm"])
            result[f"keel and {name}, the same batches"] = {
                "loss_difference_first_step": float(gap[0]),
                "loss_difference_max": float(gap.max()),
                "grad_norm_relative_difference_max": float(np.max(np.abs(np.array(ours["grad_norm"]) / norms - 1))),
            }
    return result


def token_arithmetic(pairs: Pairs, arguments: argparse.Namespace) -> dict[str, Any]:
    """How many tokens an epoch costs each way of batching. Their quotients are what batching alone can gain."""
    from transformers.trainer_pt_utils import get_length_grouped_indices

    size, micro = arguments.pairs_per_step, arguments.peer_micro_pairs or arguments.pairs_per_step
    generator = torch.Generator().manual_seed(arguments.seed)
    grouped = np.array(get_length_grouped_indices(pairs.longest.tolist(), size, generator=generator))
    counts = {
        "padded_random": _padded(pairs.longest[pairs.order], micro),
        "padded_grouped_by_length": _padded(pairs.longest[grouped], micro),
        "unpadded": int(pairs.useful.sum()),
        "prompt_shared": int(pairs.shared.sum()),
    }
    return {
        "pairs": len(pairs.order),
        **counts,
        "ceiling_over_defaults": round(counts["padded_random"] / counts["prompt_shared"], 3),
        "ceiling_over_tuned": round(counts["padded_grouped_by_length"] / counts["prompt_shared"], 3),
    }


def _padded(lengths: np.ndarray, pairs: int) -> int:
    batches = (lengths[i : i + pairs] for i in range(0, len(lengths), pairs))
    return int(sum(2 * len(batch) * batch.max() for batch in batches))


def flops(pairs: Pairs, arguments: argparse.Namespace) -> Iterable[tuple[str, float]]:
    """Floating-point operations of one epoch, forward and backward, without recomputation.

    6 · (parameters outside the embedding) per token, and 12 · layers · heads · head_dim per attended (query, key) pair:
    ``useful`` with both transcripts computed in full, ``computed`` with the prompt computed once.
    """
    c = MODELS[arguments.model]
    width, heads, kv = (
        c["hidden_size"],
        c["num_attention_heads"] * c["head_dim"],
        c["num_key_value_heads"] * c["head_dim"],
    )
    matrices = c["num_hidden_layers"] * (2 * width * heads + 2 * width * kv + 3 * width * c["intermediate_size"])
    attention = 12 * c["num_hidden_layers"] * heads
    yield "useful", 6.0 * matrices * pairs.useful.sum() + attention * pairs.attended.sum()
    yield "computed", 6.0 * matrices * pairs.shared.sum() + attention * pairs.attended_shared.sum()


def peak_flops(arguments: argparse.Namespace) -> float | None:
    if arguments.peak_flops or arguments.device == "cpu":
        return arguments.peak_flops
    name = torch.cuda.get_device_name()
    return next((peak for card, peak in PEAK_FLOPS.items() if card in name), None)


# --- command line ---------------------------------------------------------------------------------------------------


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    data = Path(os.environ.get("KEEL_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="JSON file to write")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--dtype", choices=("fp32", "bf16", "both"), default="fp32")
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--data", default=str(data / "safety" / "hh_harmless_base_pairs.train.jsonl.gz"), help="a file, or: synthetic")
    add("--peers", nargs="+", choices=tuple(PEERS), default=list(PEERS))
    add("--repeats", type=int, default=3)
    add("--steps", type=int, default=24, help="optimizer steps of every run")
    add("--warmup", type=int, default=2, help="steps before the clock starts")
    add("--pairs-per-step", type=int, default=16)
    add("--peer-micro-pairs", type=int, help="TRL's micro-batch (the rest is accumulated); default: the whole step")
    add("--max-tokens", type=int, default=8192, help="our micro-batch, in tokens")
    add("--max-length", type=int, default=1024, help="no pair may be longer")
    add("--lr", type=float, default=1e-4)
    add("--threads", type=int, default=os.cpu_count(), help="of every run")
    add("--peak-flops", type=float, help="the card's dense bf16 FLOP/s, where it is not in the table")
    add("--seed", type=int, default=0)
    add("--job", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if not 1 <= arguments.warmup < arguments.steps:
        parser.error("--warmup must be at least 1 and below --steps")
    return arguments


def main() -> None:
    arguments = parse()
    if arguments.job is not None:
        arguments.out.write_text(json.dumps(work(Job(**json.loads(arguments.job.read_text(encoding="utf-8"))))))
        return
    found = environment(arguments.seed, arguments.threads)
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory)
        pairs = prepare(workspace, arguments)
        dtypes = ("fp32", "bf16") if arguments.dtype == "both" else (arguments.dtype,)
        measured = {dtype: measure(dtype, workspace, pairs, arguments) for dtype in dtypes}
        tokens = token_arithmetic(pairs, arguments)
    first = measured[dtypes[0]]
    result = {
        "benchmark": "rm_training",
        **{key: first[key] for key in RATIOS if key in first},
        "ratio_is": f"useful tokens/s of keel over TRL's, {dtypes[0]}, median of the repeats' ratios",
        "peer": f"TRL {found['versions'].get('trl')} RewardTrainer: "
        + "; ".join(f"{n}: {PEERS[n]}" for n in arguments.peers),
        "repeats": arguments.repeats,
        "tokens_of_an_epoch": tokens,
        "settings": {
            k: str(v) if isinstance(v, Path) else v
            for k, v in vars(arguments).items()
            if k not in ("job", "out", "data")
        }
        | {"data": Path(arguments.data).name},
        "environment": found,
        **(measured if len(dtypes) > 1 else first),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for dtype, values in measured.items():
        print(f"{dtype}: " + ", ".join(f"{key} {values[key]}" for key in RATIOS if key in values))
    print(
        "ceilings from token counts: defaults", tokens["ceiling_over_defaults"], "tuned", tokens["ceiling_over_tuned"]
    )


if __name__ == "__main__":
    main()
