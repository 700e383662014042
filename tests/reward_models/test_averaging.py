"""Averaged weights: by hand, laws, what is refused, and the saved model in use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from keel.cli import app
from reward_models import RewardModel
from reward_models.averaging import average, check_members
from reward_models.backbone.config import ModelConfig
from reward_models.config import RewardModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.formats import to_row
from reward_models.data.sources import load
from reward_models.evaluation.model_card import model_card
from reward_models.model import build_model, save_model
from reward_models.runtime.config import dump_config, load_config
from reward_models.trainer import train

SHAPE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPE |= {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 1024, "initializer_range": 0.3}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("rows") / "pairs.jsonl"
    records = load(["synthetic:helpful:test"], "comparison", limit=40).records
    file.write_text("".join(json.dumps(to_row(r)) + "\n" for r in records), encoding="utf-8")  # type: ignore[arg-type]
    return str(file)


def member(path: Path, seed: int, **changes: Any) -> Path:
    """A saved model of random weights, with the manifest of a trained one."""
    tokenizer = train_tokenizer(["Some words, and others too."], 300)
    words = [f"model.config={json.dumps({'model_type': 'qwen3', **SHAPE})}", f"seed={seed}", "init_seed=0"]
    words += [f"{key}={value}" for key, value in changes.items()]
    config = load_config(RewardModelConfig, None, words)
    torch.manual_seed(seed)
    scorer = build_model(ModelConfig(config=config.model.config), tokenizer, config.task, torch.float32)
    facts = {
        "task": config.task,
        "span": "summary",
        "template_fingerprint": ChatRenderer(tokenizer, "summary").fingerprint,
    }
    facts |= {"data_fingerprint": "abc", "calibration": {}}
    path.mkdir()
    save_model(scorer, scorer.model.state_dict(), path, tokenizer, facts, None)
    manifest = facts | {"config": yaml.safe_load(dump_config(config)), "data": {"sources": [], "counts": {}}}
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    return [member(folder / f"m{seed}", seed) for seed in (1, 2, 3)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


CONVERSATIONS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question, answer in (("Some words?", "And others."), ("Too?", "Words, words and words."), ("And?", "No."))
]


def test_every_weight_is_the_mean(members: list[Path], rows: str, tmp_path: Path) -> None:
    average(members, tmp_path / "mean", [rows])
    one, two, three, mean = (weights(path) for path in (*members, tmp_path / "mean"))
    assert mean.keys() == one.keys()
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (one[name] + two[name] + three[name]) / 3, msg=name)
    assert not torch.equal(mean["score.weight"], one["score.weight"])


def test_equal_models_average_to_themselves(members: list[Path], rows: str, tmp_path: Path) -> None:
    shutil.copytree(members[0], tmp_path / "copy")
    average([members[0], tmp_path / "copy"], tmp_path / "mean", [rows])
    single, mean = (RewardModel.load(path).score(CONVERSATIONS) for path in (members[0], tmp_path / "mean"))
    assert [s.raw for s in mean] == [s.raw for s in single]


def test_the_average_of_two_heads_scores_the_mean_of_both(members: list[Path], rows: str, tmp_path: Path) -> None:
    """The score is linear in the head: on one backbone the mean of the weights is the ensemble."""
    from safetensors.torch import save_file

    other = tmp_path / "other"
    shutil.copytree(members[0], other)
    changed = weights(other) | {"score.weight": weights(members[1])["score.weight"]}
    save_file(changed, other / "model.safetensors", metadata={"format": "pt"})
    average([members[0], other], tmp_path / "mean", [rows])
    one, two, mean = (
        [s.raw for s in RewardModel.load(p).score(CONVERSATIONS)] for p in (members[0], other, tmp_path / "mean")
    )
    assert mean == pytest.approx([(a + b) / 2 for a, b in zip(one, two, strict=True)], abs=1e-6)


def test_the_command_saves_a_model_with_a_calibration_of_its_own(
    members: list[Path], rows: str, tmp_path: Path
) -> None:
    out = tmp_path / "mean"
    words = ["average", *(w for path in members for w in ("--model", str(path))), "--out", str(out), "--data", rows]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "Mean of 3 models, calibrated on 40 records" in done.output
    model = RewardModel.load(out)
    assert model.calibration.n == 40
    assert [each["seed"] for each in model.manifest["averaged"]] == [1, 2, 3]
    assert "the mean of 3 models" in (out / "README.md").read_text(encoding="utf-8")
    assert "mean of" not in model_card({**model.manifest, "averaged": None}, [])
    raw = [score.raw for pair in model.score_records(load([rows], "comparison").records) for score in pair]  # type: ignore[arg-type]
    assert model.calibration.mean == pytest.approx(sum(raw) / len(raw), abs=1e-6)
    plain = AutoModelForSequenceClassification.from_pretrained(out)
    assert plain.config.num_labels == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_seed": 7}, "init_seed is 0 and 7. Weights that no pretrained model brings"),
        ({"task": "safety"}, "task is 'preference' and 'safety'"),
    ],
)
def test_models_that_do_not_fit_are_refused(
    changes: dict[str, Any], message: str, members: list[Path], rows: str, tmp_path: Path
) -> None:
    other = member(tmp_path / "other", 5, **changes)
    with pytest.raises(ValueError, match=message):
        average([members[0], other], tmp_path / "mean", [rows])
    assert not (tmp_path / "mean").exists()


def test_other_bases_and_tokenizers_are_refused_and_other_dropout_is_not(members: list[Path]) -> None:
    first = json.loads((members[0] / "manifest.json").read_text(encoding="utf-8"))
    for change, name in (
        ({"template_fingerprint": "x"}, "tokenizer and template"),
        ({"span": "full"}, "span is 'summary' and 'full'"),
        ({"config": {**first["config"], "model": {**first["config"]["model"], "path": "other"}}}, "model.path"),
    ):
        with pytest.raises(ValueError, match=name):
            check_members(members[:2], [first, first | change])
    with pytest.raises(ValueError, match="at least two different models"):
        check_members([members[0], members[0]], [first, first])


def test_an_architecture_of_another_size_is_refused_and_dropout_may_differ(members: list[Path], tmp_path: Path) -> None:
    manifest = json.loads((members[0] / "manifest.json").read_text(encoding="utf-8"))
    other = tmp_path / "other"
    shutil.copytree(members[0], other)
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.5}), encoding="utf-8")
    check_members([members[0], other], [manifest, manifest])
    (other / "config.json").write_text(json.dumps(config | {"hidden_size": 32}), encoding="utf-8")
    with pytest.raises(ValueError, match="hidden_size of the architecture is 16 and 32"):
        check_members([members[0], other], [manifest, manifest])


def test_the_calibration_split_of_other_data_is_not_used(members: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(members[0], other)
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    (other / "manifest.json").write_text(json.dumps(manifest | {"data_fingerprint": "other"}), encoding="utf-8")
    with pytest.raises(ValueError, match="trained on different data"):
        average([members[0], other], tmp_path / "mean")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(ValueError, match="is not empty"):
        average(members, tmp_path / "full")


def test_training_data_of_a_member_is_not_calibrated_on(tmp_path: Path, rows: str) -> None:
    members = [member(tmp_path / name, seed, **{"data.train": f"[{rows}]"}) for name, seed in (("a", 1), ("b", 2))]
    for spec in (rows, rows.replace("pairs", "pa*")):
        with pytest.raises(ValueError, match="is training data of the models"):
            average(members, tmp_path / "mean", [spec])
    assert not (tmp_path / "mean").exists()
    copy = shutil.copyfile(rows, tmp_path / "other.jsonl")
    assert average(members, tmp_path / "mean", [str(copy)]).calibration.n == 40


def test_trained_models_begin_alike_and_calibrate_on_their_own_split(tmp_path: Path, world: Any) -> None:
    """At a learning rate of almost 0 both seeds end where they began; without an init_seed they would differ."""
    words = [f"model.config={json.dumps({'model_type': 'qwen3', **SHAPE})}", "model.vocab_size=300", "max_steps=1"]
    words += ["data.train=['synthetic:helpful:train']", "data.limit=60", "data.calibration_fraction=0.3", "loggers=[]"]
    words += ["batch_size=4", "engine.lr=1e-12", "engine.dtype=fp32", "save_every=0", "data.eval_fraction=0"]
    paths = []
    for seed in (1, 2):
        settings = [*words, f"seed={seed}", "init_seed=0", f"output_dir={tmp_path / str(seed)}"]
        path = train(load_config(RewardModelConfig, None, settings))
        assert path is not None
        paths.append(path)
    one, two = map(weights, paths)
    for name in one:
        torch.testing.assert_close(one[name], two[name], msg=name)
    made = average(paths, tmp_path / "mean")
    assert made.calibration.n == RewardModel.load(paths[0]).calibration.n > 5
    assert made.calibration.mean == pytest.approx(RewardModel.load(paths[0]).calibration.mean, abs=1e-5)
