"""A small decoder, trained from scratch to predict the text of preference data: a better start for a reward model than
random weights, where no pretrained model can be had.

    python benchmarks/pretrain_decoder.py --out runs/small_decoder --data pairs.jsonl labels.jsonl

Reads every conversation of the named data as a chat, packs them into rows of equal length, and leaves a plain
transformers model for ``model.path``. Evaluation files must not be among the data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, get_scheduler

from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.records import Comparison, Prompt, SafetyLabel
from reward_models.data.sources import load

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": 4096,
}


def conversations(specs: list[str]) -> list[tuple]:
    """(prompt, response) of every record, each once; a prompt's answer is left out, it is no text of a chat."""
    found: dict[tuple, None] = {}
    for record in load(specs, None, max_bad=1_000_000, domain="helpfulness").records:
        if isinstance(record, Comparison):
            found[record.prompt, record.response_a] = found[record.prompt, record.response_b] = None
        elif isinstance(record, SafetyLabel):
            found[record.prompt, record.response] = None
        elif isinstance(record, Prompt):
            found[record.prompt, ()] = None
    return list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory of the model")
    add("--data", nargs="+", required=True, help="files, globs or hub data sets")
    add("--vocab-size", type=int, default=4096)
    add("--steps", type=int, default=800, help="about 0.6 s each on two cores")
    add("--row", type=int, default=256, help="tokens of a row")
    add("--rows", type=int, default=16, help="rows of a step")
    add("--lr", type=float, default=2e-3)
    add("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chats = conversations(arguments.data)
    tokenizer = train_tokenizer((m.content for prompt, reply in chats for m in (*prompt, *reply)), arguments.vocab_size)
    renderer = ChatRenderer(tokenizer, "full")
    order = np.random.default_rng(arguments.seed).permutation(len(chats))
    texts = renderer.tokenize([renderer.text(*chats[i]) for i in order])
    stream = np.concatenate(texts)
    rows = torch.from_numpy(stream[: len(stream) // arguments.row * arguments.row].reshape(-1, arguments.row)).long()
    torch.manual_seed(arguments.seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            **SHAPE,
            vocab_size=len(tokenizer),
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    print(f"{len(chats):,} conversations, {len(stream):,} tokens, {model.num_parameters():,} parameters", flush=True)
    train(model, rows, arguments)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


def train(model: Qwen3ForCausalLM, rows: torch.Tensor, arguments: argparse.Namespace) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, betas=(0.9, 0.95), weight_decay=0.1)
    steps = arguments.steps
    scheduler = get_scheduler("cosine", optimizer, steps // 20, steps)
    generator = torch.Generator().manual_seed(arguments.seed)
    losses: list[float] = []
    while len(losses) < steps:
        batch = rows[torch.randint(len(rows), (arguments.rows,), generator=generator)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(float(loss))
        if len(losses) % 50 == 0 or len(losses) == steps:
            print(f"step {len(losses)}/{steps}: loss {np.mean(losses[-50:]):.3f}", flush=True)


if __name__ == "__main__":
    main()
