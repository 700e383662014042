"""Tiny language models on disk that resemble released ones: full vocabularies, missing pad tokens, their templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from reward_models.data.chat import train_tokenizer

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3}
DECODERS: dict[str, dict[str, Any]] = {
    "llama": SHAPE,
    "mistral": SHAPE | {"head_dim": 8, "sliding_window": 16},
    "qwen2": SHAPE | {"tie_word_embeddings": True},
    "qwen3": SHAPE | {"head_dim": 8, "tie_word_embeddings": True},
    "gemma": SHAPE | {"head_dim": 8},
    "gemma3_text": SHAPE | {"head_dim": 8, "sliding_window": 16},
    "phi": {key: value for key, value in SHAPE.items() if key != "num_key_value_heads"},
    "phi3": SHAPE,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.3},
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def released_template(name: str) -> str:
    """The chat template of a released model, from the collection that TRL carries."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def tiny_base(
    directory: Path, model_type: str, *, pad: str | None, template: str | None = CHATML, end: str = "<|im_end|>"
) -> Path:
    """A random language model whose embedding has a row for each token and none to spare.

    Args:
        pad: the tokenizer's pad token: ``None`` for none at all, ``"eos"`` for the end token.
        end: the end token.
    """
    words = ["What is two and two?", "Say hello", "Two and two is four, as everybody knows."]
    trained: Any = train_tokenizer(words * 2, 320)
    content = trained.backend_tokenizer.to_str().replace("<|pad|>", "<|other|>").replace("<|im_end|>", end)
    fields = {} if pad is None else {"pad_token": end if pad == "eos" else pad}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(trained.backend_tokenizer).from_str(content),
        bos_token="<|im_start|>",
        eos_token=end,
        **fields,
    )
    tokenizer.chat_template = template
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    settings = {**DECODERS[model_type], **special, "pad_token_id": tokenizer.pad_token_id}
    AutoConfig.for_model(model_type, **settings).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    read = AutoTokenizer.from_pretrained(directory)  # the class of some families adds tokens of its own
    read.save_pretrained(directory)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings, vocab_size=len(read)))
    model.save_pretrained(directory)
    return directory
