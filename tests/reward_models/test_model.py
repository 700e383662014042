"""A saved reward model gives plain transformers, and peft, the scores it had in training."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from reward_models.backbone.config import LoraConfig, ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.manifest import KEEL_KEY
from reward_models.data.records import Message
from reward_models.data.trees import PromptTree
from reward_models.model import SequenceScorer, build_model, head_name, init_head, load_tokenizer, save_model
from reward_models.runtime.config import ConfigError

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.3}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "qwen3": DECODER,
    "llama": DECODER,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3},
    "bert": {**SIZES, "max_position_embeddings": 256, "initializer_range": 0.3},
    "roberta": {**SIZES, "max_position_embeddings": 256, "initializer_range": 0.3},
}
FACTS = {"task": "preference", "span": "summary"}
CONVERSATIONS = [
    (Message("user", "What is two and two?"), Message("assistant", "Four.")),
    (Message("user", "What is two and two?"), Message("assistant", "Two and two is five, as everybody knows.")),
    (Message("user", "Say hello"), Message("assistant", "hello")),
    (Message("system", "Be brief."), Message("user", "Why?"), Message("assistant", "Because the sky is blue, I think")),
    (Message("user", "One"), Message("assistant", "Two"), Message("user", "Three"), Message("assistant", "Four")),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([m.content for c in CONVERSATIONS for m in c] * 2, 320)


@pytest.fixture
def renderer(tokenizer: Any) -> ChatRenderer:
    return ChatRenderer(copy.deepcopy(tokenizer), "summary")


def test_an_architecture_that_nothing_could_load_as_a_classifier_is_refused(renderer: ChatRenderer) -> None:
    with pytest.raises(ConfigError, match="no sequence classifier for granite models"):
        build(ModelConfig(config={"model_type": "granite", **SIZES}), renderer)


def build(config: ModelConfig, renderer: ChatRenderer, task: str = "preference", seed: int = 0) -> SequenceScorer:
    torch.manual_seed(seed)
    return build_model(config, renderer.tokenizer, task, torch.float32).eval()


def new(model_type: str, renderer: ChatRenderer, task: str = "preference") -> SequenceScorer:
    return build(ModelConfig(config={"model_type": model_type, **ARCHITECTURES[model_type]}), renderer, task)


def save(
    scorer: SequenceScorer, directory: Path, renderer: ChatRenderer, lora: LoraConfig | None = None
) -> dict[str, Any]:
    """Save through the trainer's path; returns ``config.json``."""
    weights = {name: tensor.detach().clone() for name, tensor in scorer.model.state_dict().items()}
    save_model(scorer, weights, directory, renderer.tokenizer, FACTS, lora)
    return json.loads((directory / "config.json").read_text())


def trees(renderer: ChatRenderer) -> list[PromptTree]:
    ids = renderer.tokenize([renderer.text(c[:-1], c[-1:]) for c in CONVERSATIONS])
    return [PromptTree.from_sequences(ids[:2]), *(PromptTree.from_sequences([s]) for s in ids[2:])]


@torch.no_grad()
def trained_scores(scorer: SequenceScorer, renderer: ChatRenderer) -> torch.Tensor:
    scores = scorer(scorer.collate(trees(renderer)))
    assert scores.std() > 0.05  # equal scores would agree whatever is wrong
    return scores


@torch.no_grad()
def plain_scores(model: Any, directory: Path, batch_size: int, side: str = "right") -> torch.Tensor:
    """Scores by plain calls of transformers, without code of this project."""
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side=side)
    texts = [
        tokenizer.apply_chat_template([{"role": m.role, "content": m.content} for m in c], tokenize=False)
        for c in CONVERSATIONS
    ]
    scores = []
    for at in range(0, len(texts), batch_size):
        batch = texts[at : at + batch_size]
        inputs = tokenizer(batch, add_special_tokens=False, padding=True, return_tensors="pt")
        scores.append(model(**inputs).logits[:, 0])
    return torch.cat(scores)


def perturb(scorer: SequenceScorer) -> None:
    """Move every trainable weight, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in scorer.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


# --- plain transformers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_a_saved_model_scores_alike_in_plain_transformers(
    model_type: str, renderer: ChatRenderer, tmp_path: Path
) -> None:
    scorer = new(model_type, renderer)
    expected = trained_scores(scorer, renderer)
    save(scorer, tmp_path, renderer)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    for batch_size in range(1, len(CONVERSATIONS) + 1):
        torch.testing.assert_close(plain_scores(model, tmp_path, batch_size), expected, rtol=0, atol=2e-6)
        if model_type in ("llama", "qwen3"):  # positions of the others are absolute: they are never padded on the left
            left = plain_scores(model, tmp_path, batch_size, side="left")
            torch.testing.assert_close(left, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("task", ["preference", "safety"])
@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_the_layout_other_software_expects(model_type: str, task: str, renderer: ChatRenderer, tmp_path: Path) -> None:
    written = save(new(model_type, renderer, task), tmp_path, renderer)
    # vLLM puts a sigmoid on the score of a one-label model unless the problem is a regression.
    assert written["problem_type"] == ("regression" if task == "preference" else "multi_label_classification")
    assert written["id2label"] == {"0": "helpful" if task == "preference" else "safe"}
    assert written[KEEL_KEY] == FACTS
    assert written["pad_token_id"] == renderer.tokenizer.pad_token_id
    assert written["pad_token_id"] != written["eos_token_id"]
    assert "auto_map" not in written
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.num_labels == 1
    if model_type not in ("bert", "roberta"):
        assert (tuple(model.score.weight.shape), model.score.bias) == ((1, 32), None)
    assert {file.suffix for file in tmp_path.iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == renderer.tokenizer.chat_template


def test_a_saved_reward_model_goes_on_with_its_head(renderer: ChatRenderer, tmp_path: Path) -> None:
    scorer = new("qwen3", renderer)
    save(scorer, tmp_path, renderer)
    again = build(ModelConfig(path=str(tmp_path)), renderer, seed=5)
    torch.testing.assert_close(trained_scores(again, renderer), trained_scores(scorer, renderer), rtol=0, atol=1e-6)


# --- adapters ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["qwen3", "bert", "roberta"])
def base(request: pytest.FixtureRequest, renderer: ChatRenderer, tmp_path: Path) -> Path:
    """A pretrained model on disk, without a head for scoring."""
    torch.manual_seed(3)
    sizes = {"vocab_size": len(renderer.tokenizer), "pad_token_id": renderer.tokenizer.pad_token_id}
    config = AutoConfig.for_model(request.param, **sizes, **ARCHITECTURES[request.param])
    language_model = AutoModelForCausalLM if request.param == "qwen3" else AutoModelForMaskedLM
    language_model.from_config(config).save_pretrained(tmp_path / "base")
    renderer.tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("targets", [None, ["query", "value", "q_proj", "v_proj"]])
def test_merged_adapter_and_trained_module_score_alike(
    targets: list[str] | None, base: Path, renderer: ChatRenderer, tmp_path: Path
) -> None:
    lora = LoraConfig(r=4, alpha=8, target_modules=targets)
    scorer = build(ModelConfig(path=str(base), lora=lora), renderer)
    before = trained_scores(scorer, renderer)
    perturb(scorer)
    expected = trained_scores(scorer, renderer)
    assert (before - expected).abs().median() > 1e-3

    save(scorer, tmp_path / "adapter", renderer, LoraConfig(r=4, alpha=8, merge=False))
    plain = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, pad_token_id=renderer.tokenizer.pad_token_id
    )
    loaded = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    adapted = plain_scores(loaded, tmp_path / "adapter", 2)
    torch.testing.assert_close(adapted, expected, rtol=0, atol=5e-6)

    save(scorer, tmp_path / "merged", renderer, lora)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(plain_scores(merged, tmp_path / "merged", 2), expected, rtol=0, atol=5e-6)
    assert not any("lora" in name for name in merged.state_dict())


def test_adapters_train_themselves_and_whole_what_is_new_and_nothing_else(base: Path, renderer: ChatRenderer) -> None:
    model_type = json.loads((base / "config.json").read_text())["model_type"]
    scorer = build(ModelConfig(path=str(base), lora=LoraConfig(r=4)), renderer)
    trainable = {name for name, parameter in scorer.named_parameters() if parameter.requires_grad}
    whole = {
        n.removeprefix("model.base_model.model.").partition(".modules_to_save")[0]
        for n in trainable
        if "lora_" not in n
    }
    # A masked language model has no pooler: BERT's is as new as its head.
    assert (
        whole
        == {"qwen3": {"score"}, "bert": {"bert.pooler.dense", "classifier"}, "roberta": {"classifier"}}[model_type]
    )
    assert any("lora_" in name for name in trainable)


@pytest.mark.parametrize("lora", [None, LoraConfig(r=4)])
def test_gradient_checkpointing_changes_no_gradient(
    lora: LoraConfig | None, base: Path, renderer: ChatRenderer
) -> None:
    gradients = []
    for checkpointing in (False, True):
        scorer = build(ModelConfig(path=str(base), lora=lora, gradient_checkpointing=checkpointing), renderer)
        for module in scorer.modules():  # dropout would differ between the two, and training mode checkpoints
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        scorer.train()
        perturb(scorer)
        scorer(scorer.collate(trees(renderer))).square().sum().backward()
        gradients.append({n: p.grad for n, p in scorer.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert sum("lora_A" in name for name in gradients[0]) == (
        0 if lora is None else sum("lora_A" in name for name, p in scorer.named_parameters())
    )
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(
            gradient, gradients[1][name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- the head ---------------------------------------------------------------------------------------------------------


def test_the_head_is_initialised_as_learning_to_summarize_does() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(9999, 1)
    init_head(head)
    assert head.weight.std().item() == pytest.approx(1 / math.sqrt(10_000), rel=0.03)
    assert abs(head.weight.mean().item()) < 4 / math.sqrt(10_000) / 100
    assert head.bias.item() == 0.0


def test_only_a_head_that_the_weights_lack_is_initialised(base: Path, renderer: ChatRenderer) -> None:
    def head(seed: int) -> torch.Tensor:
        model: Any = build(ModelConfig(path=str(base)), renderer, seed=seed).model
        return next(getattr(model, head_name(model)).parameters()).detach()

    if head(0).shape == (1, 32):
        assert head(0).std().item() == pytest.approx(1 / math.sqrt(33), rel=0.35)
    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))


# --- padding ----------------------------------------------------------------------------------------------------------


def test_a_tokenizer_that_pads_with_the_end_token_gets_another_and_the_model_room_for_it(
    renderer: ChatRenderer, tmp_path: Path
) -> None:
    tokenizer = renderer.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(3)
    config = AutoConfig.for_model("qwen3", vocab_size=len(tokenizer), **DECODER)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.add_special_tokens({"pad_token": tokenizer.eos_token})
    tokenizer.save_pretrained(tmp_path / "base")

    config_of_ours = ModelConfig(path=str(tmp_path / "base"))
    loaded = load_tokenizer(config_of_ours)
    assert loaded is not None
    assert loaded.pad_token_id not in (None, loaded.eos_token_id)
    ours = ChatRenderer(loaded, "summary")
    scorer = build(config_of_ours, ours)
    rows = scorer.classifier.get_input_embeddings().weight
    old = AutoModelForCausalLM.from_pretrained(tmp_path / "base").get_input_embeddings().weight
    assert rows.shape[0] >= len(loaded)
    assert torch.equal(rows[: len(old)], old)

    written = save(scorer, tmp_path / "model", ours)
    assert written["pad_token_id"] == loaded.pad_token_id
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    for side in ("left", "right"):
        scores = plain_scores(model, tmp_path / "model", 3, side)
        torch.testing.assert_close(scores, trained_scores(scorer, ours), rtol=0, atol=2e-6)


def test_spare_rows_of_the_embedding_are_left_alone(renderer: ChatRenderer, tmp_path: Path) -> None:
    config = AutoConfig.for_model("qwen3", vocab_size=512, **DECODER)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    renderer.tokenizer.save_pretrained(tmp_path)
    scorer = build(ModelConfig(path=str(tmp_path)), renderer)
    assert scorer.classifier.get_input_embeddings().weight.shape[0] == 512


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"config": {"model_type": "qwen3"}, "lora": LoraConfig(merge=False)},
            "model.lora.merge=false needs a pretrained model",
        ),
        ({"config": {"hidden_size": 8}}, "model.config needs a model_type"),
        ({"path": "./no/such/model"}, r"model.path: no directory ./no/such/model"),
        ({"path": "x/y", "chat_template": "no/such.jinja"}, "model.chat_template: no file no/such.jinja"),
    ],
)
def test_a_model_that_cannot_be_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


def test_trees_are_refused_where_they_would_be_wrong(renderer: ChatRenderer) -> None:
    config = ModelConfig(config={"model_type": "bert", **ARCHITECTURES["bert"]}, layout="tree")
    with pytest.raises(ValueError, match=r"model\.layout=tree: bert models cannot run prompt trees"):
        build(config, renderer)
