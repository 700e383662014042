"""The model and pairs that both trainers of ``rm_training.py`` read, and the gain that token counts allow."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import MODELS

from reward_models.backbone.config import ModelConfig
from reward_models.data.batching import EpochSampler
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.token_sets import TokenizedSet
from reward_models.dataset import DataConfig, load_records, tokenize
from reward_models.model import build_model, load_tokenizer

# Dense bf16 matrix products, FLOP/s, from the makers' data sheets.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}


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
    config: Any  # of the model


def prepare(workspace: Path, arguments: argparse.Namespace) -> Pairs:
    """Write what both trainers start from: a model with its tokenizer, and the pairs in two orders.

    Ours draws its batches from ``pairs.jsonl``; ``drawn.jsonl`` holds the same pairs in the order in which they are
    drawn, for a trainer that reads them one after the other.
    """
    source = arguments.data
    if source == "synthetic":
        source = str(workspace / "synthetic.jsonl")
        count = (arguments.steps + 4) * arguments.pairs_per_step
        words = (arguments.max_length // 4, arguments.max_length * 3 // 4)
        write_synthetic(Path(source), count, arguments.seed, words=words)
    records = load_records(data_config(source, arguments.max_length), "preference")
    config = ModelConfig(path=arguments.base) if arguments.base else ModelConfig(config=MODELS[arguments.model])
    tokenizer = load_tokenizer(config) or train_tokenizer(records.texts, 4096)
    data = tokenize(records, ChatRenderer(tokenizer, "full"), data_config(source, arguments.max_length)).train
    if data.truncated or data.dropped:
        raise ValueError("a pair is longer than --max-length, where the two trainers differ in what they do about it")

    torch.manual_seed(arguments.seed)
    scorer = build_model(config, tokenizer, "preference", torch.float32)
    scorer.classifier.save_pretrained(workspace / "model")
    tokenizer.save_pretrained(workspace / "model")

    sampler = EpochSampler(len(data), arguments.pairs_per_step, arguments.seed)
    order = np.concatenate([sampler.step(step) for step in range(sampler.steps_per_epoch)])
    longest = data.branch_lengths(range(len(data))).max(axis=1)
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
        config=scorer.classifier.config,
    )


def write_synthetic(
    path: Path, count: int, seed: int, *, words: tuple[int, int], prompt: tuple[float, float] = (0.5, 0.9)
) -> None:
    """Pairs of so many words, of which the prompt has a share; a word is about one token of their own tokenizer."""
    _write_lines(path, synthetic_rows(count, np.random.default_rng(seed), words, prompt))


def synthetic_rows(
    count: int, rng: np.random.Generator, total_words: tuple[int, int], share: tuple[float, float]
) -> list[dict[str, Any]]:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 7))) for _ in range(500)]

    def text(length: int) -> str:
        return " ".join(words[i] for i in rng.integers(len(words), size=length))

    rows = []
    for number in range(count):
        total = int(rng.integers(total_words[0], total_words[1] + 1))
        prompt = int(total * rng.uniform(*share))
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
    """(Query, key) pairs in the attention of a pair: with both transcripts apart, and with the prompt computed once."""
    tree = data.tree(item)
    triangles = [len(ids) * (len(ids) + 1) // 2 for ids in tree.sequences]
    prompt = len(tree.prompt)
    return sum(triangles), sum(triangles) - (len(triangles) - 1) * prompt * (prompt + 1) // 2


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def data_config(pairs: str, max_length: int) -> DataConfig:
    """Every pair is trained on: nothing is held out."""
    return DataConfig(train=[pairs], eval_fraction=0.0, calibration_fraction=0.0, max_length=max_length, span="full")


def token_arithmetic(pairs: Pairs, micro: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens of an epoch for each way of batching. Their quotients are the gain that batching alone can bring.

    Args:
        micro: pairs of the peer's micro-batch.
    """
    from transformers.trainer_pt_utils import get_length_grouped_indices

    size = arguments.pairs_per_step
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


def flops(pairs: Pairs) -> Iterable[tuple[str, float]]:
    """Floating-point operations of one epoch, forward and backward, without recomputation.

    6 · (parameters outside the embedding) per token, and 12 · layers · heads · head_dim per attended (query, key) pair:
    ``useful`` with both transcripts computed in full, ``computed`` with the prompt computed once.
    """
    c = pairs.config
    size = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    heads, kv = c.num_attention_heads * size, c.num_key_value_heads * size
    matrices = c.num_hidden_layers * c.hidden_size * (2 * heads + 2 * kv + 3 * c.intermediate_size)
    attention = 12 * c.num_hidden_layers * heads
    yield "useful", 6.0 * matrices * pairs.useful.sum() + attention * pairs.attended.sum()
    yield "computed", 6.0 * matrices * pairs.shared.sum() + attention * pairs.attended_shared.sum()


def peak_flops(arguments: argparse.Namespace) -> float | None:
    if arguments.peak_flops or arguments.device == "cpu":
        return arguments.peak_flops
    name = torch.cuda.get_device_name()
    return next((peak for card, peak in PEAK_FLOPS.items() if card in name), None)
