"""The files of a finished run: model, baseline, evaluation, plots, model card and manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from reward_models.attributes import AttributeHead
from reward_models.calibration import Calibration
from reward_models.config import RewardModelConfig
from reward_models.data.chat import ChatRenderer
from reward_models.data.manifest import MANIFEST
from reward_models.data.token_sets import TokenizedSet
from reward_models.dataset import TokenizedData
from reward_models.evaluation import plots
from reward_models.evaluation.baseline import Baseline
from reward_models.evaluation.figures import evaluate
from reward_models.evaluation.model_card import model_card
from reward_models.evaluation.scored_set import ScoredSet, write_scores
from reward_models.model import SequenceScorer, save_model
from reward_models.reporting import charts
from reward_models.runtime.config import dump_config
from reward_models.runtime.metrics import read_metrics
from reward_models.runtime.run import package_versions
from reward_models.runtime.secrets import written_as

EVALUATION = "evaluation.json"
EVAL_SCORES = "evaluation_scores.jsonl"


def save(
    directory: Path,
    config: RewardModelConfig,
    scorer: SequenceScorer,
    weights: dict[str, torch.Tensor],
    renderer: ChatRenderer,
    data: TokenizedData,
    counts: dict[str, int],
    calibration: Calibration,
    baseline: Baseline | None,
    parts: Sequence[ScoredSet],
    world_size: int,
    *,
    head: AttributeHead | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write model, baseline, ``evaluation.json``, plots, model card and, last of all, the manifest.

    Args:
        head: of a model with attribute heads. ``more``: further figures of its evaluation.
    """
    facts = {
        "task": config.task,
        "span": renderer.span,
        "template_fingerprint": renderer.fingerprint,
        "data_fingerprint": data.train.fingerprint,
        "calibration": calibration.to_facts(),
        **({"attributes": head.to_facts()} if head is not None else {}),
    }
    save_model(scorer, weights, directory, renderer.tokenizer, facts, config.model.lora)
    if baseline is not None:
        baseline.save(directory)
    evaluation = {**evaluate(parts), **(more or {})}
    (directory / EVALUATION).write_text(json.dumps(evaluation, indent=1), encoding="utf-8")
    write_scores(parts, directory / EVAL_SCORES)
    pictures = [*plots.training(read_metrics(directory / "metrics.jsonl")), *plots.evaluation(parts, evaluation)]
    charts.save(pictures, directory / "plots")
    manifest = facts | {
        "config": yaml.safe_load(dump_config(config)),
        "data": _data_facts(data.train, counts),
        "evaluation": evaluation,
        "world_size": world_size,
        "versions": package_versions("tokenizers"),
    }
    write_manifest(directory, manifest, pictures)


def write_manifest(directory: Path, manifest: dict[str, Any], pictures: Sequence[charts.Picture]) -> None:
    """Write the model card and then the manifest, whose presence says that the model is complete."""
    (directory / "README.md").write_text(model_card(manifest, pictures), encoding="utf-8")
    temporary = directory / f"{MANIFEST}.tmp"
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(directory / MANIFEST)


def _data_facts(train: TokenizedSet, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "counts": counts,
        "sources": [written_as(source) for source in train.sources],
        "truncated": train.truncated,
        "dropped": train.dropped,
        "tokens": int(train.unshared_tokens.sum()),
        "tokens_with_shared_prompts": int(train.tree_tokens.sum()),
    }
