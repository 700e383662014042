"""What a training run leaves behind: the model, a manifest, a model card and plots."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from reward_models import charts, plots
from reward_models.baseline import Baseline
from reward_models.calibration import Calibration
from reward_models.charts import Picture
from reward_models.data.chat import ChatRenderer
from reward_models.dataset import TokenizedData
from reward_models.evaluation import evaluate
from reward_models.model import SequenceScorer, save_model
from reward_models.runtime.config import dump_config
from reward_models.runtime.distributed import World
from reward_models.runtime.metrics import read_metrics
from reward_models.scored import ScoredSet, write_scores

if TYPE_CHECKING:
    from reward_models.trainer import RewardModelConfig

MANIFEST = "manifest.json"
EVALUATION = "evaluation.json"
EVAL_SCORES = "evaluation_scores.jsonl"
CARD_COLUMNS = {
    "helpful": {
        "n": "pairs",
        "accuracy": "accuracy",
        "accuracy_ci95": "95 % interval",
        "baseline_longer": "longer wins",
        "baseline_tfidf": "TF-IDF",
        "ece": "ECE",
    },
    "safety": {
        "n": "responses",
        "auroc": "AUROC",
        "auroc_ci95": "95 % interval",
        "baseline_tfidf": "TF-IDF",
        "auprc": "AUPRC",
        "f1": "F1",
        "false_positive_rate": "false positives",
        "ece": "ECE",
    },
}
_PACKAGES = ("keel-align", "torch", "transformers", "deepspeed", "peft", "tokenizers")


def is_complete(directory: Path) -> bool:
    """Whether a finished model stands here: the manifest is written last."""
    return (directory / MANIFEST).is_file()


def full_weights(engine: Any, world: World) -> dict[str, torch.Tensor]:
    """All weights of the scored model on the main rank's CPU, gathered one at a time; empty on other ranks."""
    import deepspeed

    weights = {}
    for name, tensor in engine.module.model.state_dict(keep_vars=True).items():
        with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
            if world.is_main:
                weights[name] = tensor.detach().cpu().clone()
    return weights


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
) -> None:
    """Write model, baseline, ``evaluation.json``, plots, model card and, last of all, the manifest."""
    facts = {
        "kind": config.kind,
        "span": renderer.span,
        "template_fingerprint": renderer.fingerprint,
        "data_fingerprint": data.train.fingerprint,
        "calibration": calibration.to_facts(),
    }
    save_model(scorer, weights, directory, renderer.tokenizer, facts, config.model.lora)
    if baseline is not None:
        baseline.save(directory)
    evaluation = evaluate(parts)
    (directory / EVALUATION).write_text(json.dumps(evaluation, indent=1), encoding="utf-8")
    write_scores(parts, directory / EVAL_SCORES)
    pictures = [*plots.training(read_metrics(directory / "metrics.jsonl")), *plots.evaluation(parts, evaluation)]
    charts.save(pictures, directory / "plots")
    manifest = {
        **facts,
        "config": yaml.safe_load(dump_config(config)),
        "data": {
            "counts": counts,
            "sources": list(data.train.sources),
            "truncated": data.train.truncated,
            "dropped": data.train.dropped,
            "tokens": int(data.train.unshared_tokens.sum()),
            "tokens_with_shared_prompts": int(data.train.tree_tokens.sum()),
        },
        "evaluation": evaluation,
        "world_size": world_size,
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in _PACKAGES}},
    }
    (directory / "README.md").write_text(model_card(manifest, pictures), encoding="utf-8")
    temporary = directory / f"{MANIFEST}.tmp"
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(directory / MANIFEST)


def model_card(manifest: dict[str, Any], pictures: Sequence[Picture]) -> str:
    """The model's README in the hub's format."""
    config, evaluation, kind = manifest["config"], manifest["evaluation"], manifest["kind"]
    base = config["model"]["path"]
    header = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "keel", kind],
        **({"base_model": base} if base and not Path(base).exists() else {}),
    }
    what = (
        "a pairwise (Bradley–Terry) reward model: of two responses to one prompt, the better one scores higher"
        if kind == "helpful"
        else "a point-wise safety classifier: the score is the logit of the response being safe"
    )
    reads = (
        "only what follows the reasoning" if manifest["span"] == "summary" else "the whole response, reasoning included"
    )
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False).strip(),
        "---",
        f"# {kind.capitalize()} reward model",
        "",
        f"This is {what}. It reads {reads}. It was trained with Keel.",
        "",
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        "model = AutoModelForSequenceClassification.from_pretrained(PATH)",
        "tokenizer = AutoTokenizer.from_pretrained(PATH)",
        "text = tokenizer.apply_chat_template(messages, tokenize=False)",
        'inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")',
        "score = model(**inputs).logits[0, 0]",
        "```",
        "",
        "The template writes every special token; adding them a second time changes the score."
        + (" Cut the response to what follows `</think>` first." if manifest["span"] == "summary" else ""),
        "",
        "## Evaluation",
        "",
        *_evaluation_table(evaluation),
        "",
        *[line for p in pictures for line in (f"![{p.title}](plots/{p.name}.png)", "", p.caption, "")],
        "## Training",
        "",
        f"- Data: {', '.join(manifest['data']['sources']) or 'unnamed'}; "
        + ", ".join(f"{name} {number:,}" for name, number in manifest["data"]["counts"].items() if number),
        f"- Learning rate {config['engine']['lr']:g}, batch {config['batch_size']}, {config['epochs']:g} epochs, "
        f"{config['engine']['dtype']}, seed {config['seed']}",
        f"- {_calibration_line(manifest['calibration'])}",
        "",
        "The resolved configuration, fingerprints and versions are in `manifest.json`.",
        "",
        "## Limits",
        "",
        "A reward model ranks what resembles its training data. Scores of different models are not comparable, and a "
        "policy optimised against this one for long will find its mistakes.",
        "",
    ]
    return "\n".join(lines)


def _calibration_line(calibration: dict[str, Any]) -> str:
    values = [f"{name} {value:.4g}" for name, value in calibration.items() if isinstance(value, int | float)]
    return "Calibration: " + "; ".join([", ".join(values), *calibration.get("notes", ())])


def _evaluation_table(evaluation: dict[str, Any]) -> list[str]:
    """Headline figures of every source and of all; ``docs/evaluation.md`` says what each of them means."""
    if not evaluation:
        return ["There were no evaluation data."]
    columns = CARD_COLUMNS[evaluation["kind"]]
    rows = {**evaluation["by_source"], "all": evaluation}
    lines = ["| source | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, figures in rows.items():
        cells = [shown(figures[c]) for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def shown(value: float | Sequence[float] | None) -> str:
    """A figure, or an interval, as tables show it."""
    if value is None:
        return "–"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return "–".join(f"{v:.3f}" for v in value)
