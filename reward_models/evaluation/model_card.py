"""A model's README in the hub's format, and the format of metrics in tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from reward_models.data.records import TASKS
from reward_models.reporting.charts import Picture

CARD_COLUMNS = {
    "helpful": {
        "n": "pairs",
        "accuracy": "accuracy",
        "accuracy_ci95": "95 % interval",
        "accuracy_equal_length": "at equal length",
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

USE = """\
## Use

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained(PATH)
tokenizer = AutoTokenizer.from_pretrained(PATH)
text = tokenizer.apply_chat_template(messages, tokenize=False)
inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
score = model(**inputs).logits[0, 0]
```
"""


def model_card(manifest: dict[str, Any], pictures: Sequence[Picture]) -> str:
    """The README of a model with this manifest, with links to its pictures in ``plots/``."""
    config, evaluation = manifest["config"], manifest["evaluation"]
    name, attributes = TASKS[manifest["task"]].model, manifest.get("attributes")
    base = config["model"]["path"]
    header = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "keel", name],
        **({"base_model": base} if base and not Path(base).exists() else {}),
    }
    what = (
        "a pairwise (Bradley–Terry) reward model: of two responses to one prompt, the better one scores higher"
        if name == "helpful" and not attributes
        else f"a model of HelpSteer's attributes: its outputs are ratings of {', '.join(attributes)} in standard units"
        if attributes
        else "a point-wise safety classifier: the score is the logit of the response being safe"
    )
    reads = (
        "only what follows the reasoning" if manifest["span"] == "summary" else "the whole response, reasoning included"
    )
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False).strip(),
        "---",
        f"# {name.capitalize()} reward model",
        "",
        f"This is {what}. It reads {reads}. It was trained with Keel." + _average_line(manifest),
        "",
        USE if not attributes else USE.replace("score = model(**inputs).logits[0, 0]", _score_of(attributes)),
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
        "The model is reliable on data like its training data only. Scores of different models are not comparable. "
        "A policy that is optimised against this model for long will exploit its errors.",
        "",
    ]
    return "\n".join(lines)


def _score_of(attributes: dict[str, dict[str, float]]) -> str:
    weights = ", ".join(f"{each['weight']:g}" for each in attributes.values())
    lines = [
        f"outputs = model(**inputs).logits[0]  # {', '.join(attributes)}",
        f"score = outputs @ torch.tensor([{weights}])",
    ]
    return "\n".join(lines)


def _average_line(manifest: dict[str, Any]) -> str:
    if not (members := manifest.get("averaged")):
        return ""
    seeds = ", ".join(str(member["seed"]) for member in members)
    return (
        f" Its weights are the mean of {len(members)} models (WARM, arXiv:2401.12187), trained with seeds {seeds}; the "
        "settings below are the first one's."
    )


def _calibration_line(calibration: dict[str, Any]) -> str:
    values = [f"{name} {value:.4g}" for name, value in calibration.items() if isinstance(value, int | float)]
    return "Calibration: " + "; ".join([", ".join(values), *calibration.get("notes", ())])


def _evaluation_table(evaluation: dict[str, Any]) -> list[str]:
    """Headline metrics of every source and of all; ``docs/evaluation.md`` describes them."""
    if not evaluation:
        return ["There were no evaluation data."]
    if "attributes" in evaluation:
        lines = ["| attribute | ratings | Pearson | Spearman | error |", "|---|---|---|---|---|"]
        for name, each in evaluation["attributes"].items():
            cells = [shown(each[key]) for key in ("n", "pearson", "spearman", "error")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return lines
    columns = CARD_COLUMNS[evaluation["kind"]]
    rows = {**evaluation["by_source"], "all": evaluation}
    lines = ["| source | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, figures in rows.items():
        cells = [shown(figures[c]) for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def shown(value: float | Sequence[float] | None) -> str:
    """A metric, or an interval, as text for a table."""
    if value is None:
        return "–"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return "–".join(f"{v:.3f}" for v in value)
