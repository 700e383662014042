"""A small reward model of random weights and its scores of the samples, made by Keel's own environment.

python our_model.py DIRECTORY: saves ``DIRECTORY/model`` and ``DIRECTORY/scores.json``, the raw scores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from probe import QUESTIONS, RESPONSES, SAMPLES

from reward_models import RewardModel
from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.model import build_model, save_model

SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
}


def main(directory: Path) -> None:
    torch.manual_seed(0)
    tokenizer = train_tokenizer([*QUESTIONS, *RESPONSES], 400)
    scorer = build_model(ModelConfig(config=dict(SHAPE)), tokenizer, "preference", torch.float32)
    facts = {"task": "preference", "span": "full", "template_fingerprint": ChatRenderer(tokenizer, "full").fingerprint}
    save_model(scorer, scorer.model.state_dict(), directory / "model", tokenizer, facts, None)
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
        for question, _, response in SAMPLES
    ]
    scores = [score.raw for score in RewardModel.load(directory / "model").score(turns)]
    (directory / "scores.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
