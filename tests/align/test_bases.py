"""Whole runs from tiny copies of released models: a reward model, fine-tuning, and reinforcement learning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import training_runs
from tiny_bases import released_template, tiny_base
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from reward_models import RewardModel
from reward_models.data.records import Message

LORA = "model.lora={r: 4}"
TINY = ("loggers=[]", "engine.dtype=fp32", "engine.lr=1e-2", "engine.warmup=0", "timeout_seconds=120")
RM = ("data.train=['synthetic:helpful:train']", "data.limit=40", "batch_size=8", "max_tokens=512", "max_steps=2", *TINY)
SFT = ("batch_size=4", "max_tokens=64", "max_steps=2", *TINY)
RL = (
    "prompts_per_step=2",
    "samples_per_prompt=2",
    "steps_per_rollout=1",
    "steps=2",
    "max_new_tokens=6",
    "max_silent_rollouts=0",
    *TINY,
)
ZERO3 = ("engine.zero_stage=3", training_runs.PARTITION_ALL)
FREEZE = "model.freeze_layers=1"
# model type, pad token, chat template, end token, further settings, ranks
BASES = {
    "llama, a template with a date, ZeRO 3": ("llama", None, "llama3_2", "<|eot_id|>", ZERO3, 2),
    "mistral, no template, adapters": ("mistral", "eos", None, "</s>", (LORA,), 1),
    "gemma, a template without system turns, a frozen layer": ("gemma", None, "gemma", "<end_of_turn>", (FREEZE,), 1),
    "phi, a bias in the output layer, adapters": ("phi", None, "phi3", "<|end|>", (LORA,), 1),
    "qwen2, tied embeddings": ("qwen2", "eos", "qwen2_5", "<|im_end|>", (), 1),
}
CONVERSATION = (Message("user", "What is two and two?"), Message("assistant", "Four."))


@pytest.mark.parametrize("name", BASES)
def test_three_programs_train_on_it(name: str, tmp_path: Path) -> None:
    model_type, pad, template, end, words, ranks = BASES[name]
    text = None if template is None else released_template(template)
    base = tiny_base(tmp_path / "base", model_type, pad=pad, template=text, end=end)
    start_from = (f"model.path={base}", *words)

    reward_model = tmp_path / "reward"
    training_runs.train(reward_model, *start_from, settings=RM, ranks=ranks)
    ours = RewardModel.load(reward_model, dtype="fp32").score_responses([(CONVERSATION[:1], CONVERSATION[1:])])[0].raw
    plain = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    turns = [{"role": m.role, "content": m.content} for m in CONVERSATION]
    inputs = tokenizer(
        tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False, return_tensors="pt"
    )
    assert plain(**inputs).logits.item() == pytest.approx(ours, abs=1e-4)

    rows = [{"prompt": f"Say {n}", "response": f"<think>so</think>{n}"} for n in range(8)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy = tmp_path / "policy"
    options = {"settings": SFT, "program": "align.train_sft"}
    training_runs.train(policy, *start_from, f"data.train=[{data}]", ranks=ranks, **options)
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (base, policy))
    assert after.get_input_embeddings().num_embeddings == before.get_input_embeddings().num_embeddings
    assert any(not torch.equal(p, q) for p, q in zip(before.parameters(), after.parameters(), strict=True))

    options = {"settings": RL, "program": "align.train"}
    prompts = ("prompts.train=['synthetic:reasoning:train']", "prompts.limit=20")
    aligned = tmp_path / "aligned"
    training_runs.train(aligned, f"model.path={policy}", *words, *prompts, ranks=ranks, **options)
    lines = training_runs.metrics(aligned)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert AutoModelForCausalLM.from_pretrained(aligned).config.model_type == model_type
