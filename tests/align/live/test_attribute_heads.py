"""A model with attribute heads behind a real vLLM: all five outputs are those of the model here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from live_vllm import Launcher

from reward_models import RewardModel
from reward_models.attributes import AttributeHead
from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.records import Message
from reward_models.data.trees import PromptTree
from reward_models.model import build_model, save_model

pytestmark = pytest.mark.live

SHAPE = {"model_type": "qwen3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 32}
SHAPE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 1024, "initializer_range": 0.3}
PAIRS = [
    ((Message("user", "Why?"),), (Message("assistant", text),)) for text in ("So.", "Because it is so.", "No no no.")
]


def test_five_outputs_are_served_without_an_activation(vllm: Launcher, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["Why? Because it is so. No."], 300)
    torch.manual_seed(0)
    scorer = build_model(ModelConfig(config=SHAPE), tokenizer, "preference", torch.float32, attributes=True)
    head = AttributeHead((1.0, 0.0, 0.5, 0.0, -0.25), (3.0,) * 5, (1.0,) * 5)
    facts = {"task": "preference", "span": "summary", "calibration": {}, "attributes": head.to_facts()}
    facts["template_fingerprint"] = ChatRenderer(tokenizer, "summary").fingerprint
    save_model(scorer, scorer.model.state_dict(), tmp_path, tokenizer, facts, None)
    model = RewardModel.load(tmp_path)
    sequences = model.encode(PAIRS)
    with torch.inference_mode():
        batches = [model.scorer.collate([PromptTree.from_sequences([each])]) for each in sequences]
        expected = [model.scorer.outputs(batch)[0].tolist() for batch in batches]
    server = vllm.start(tmp_path, "--dtype", "float32")
    server.wait_until_up()
    try:
        for options in ({"use_activation": False}, {}):  # {}: vLLM's default for a regression is no activation either
            body = {"model": str(tmp_path), "input": [each.tolist() for each in sequences], **options}
            found = [item["probs"] for item in server.post("/classify", body)["data"]]
            for got, wanted in zip(found, expected, strict=True):
                assert got == pytest.approx(wanted, abs=1e-5)
    finally:
        server.kill()
