"""``keel average``: one reward model whose weights are the mean of several (WARM, arXiv:2401.12187).

Models that were trained from the same weights, with other seeds, data orders or learning rates, lie in one basin: the
mean of their weights is a good model, and costs at inference what one of them does. It is less easily deceived by what
only some of them have learnt (section 3 of the paper).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from reward_models import artifact, calibration
from reward_models.data.chat import ChatRenderer
from reward_models.data.encode import label_value, ordered_responses
from reward_models.data.manifest import KEEL_KEY, MANIFEST, read_manifest
from reward_models.data.records import TASKS, Task, saved_task
from reward_models.data.sources import SourceError, expand, load
from reward_models.dataset import DataConfig, RewardRecord, load_records
from reward_models.evaluation.baseline import BASELINE
from reward_models.inference.reward_model import RewardModel
from reward_models.model import SequenceScorer, load_scorer, save_model
from reward_models.runtime.run import package_versions

# Keys of config.json that say nothing of the weights; dropout may differ too, it makes the members diverse.
IGNORED = (KEEL_KEY, "_name_or_path", "transformers_version", "dtype", "torch_dtype", "id2label", "label2id")


def average(paths: Sequence[Path], out: Path, data: Sequence[str] = (), *, max_bad: int = 0) -> RewardModel:
    """Average the weights of saved models, calibrate anew, and save.

    Args:
        paths: directories of at least two models that ``keel train rm`` has saved.
        out: directory of the new model; it must not hold one.
        data: labelled rows to calibrate on, which no model was trained on. Empty: the calibration split of the models'
            own training data, which must then be the same for all.

    Raises:
        ValueError: the models do not fit together, or there is nothing to calibrate on; the message says why.
        SourceError, BadRowsError: see :func:`reward_models.data.sources.load`.
    """
    manifests = [read_manifest(path) for path in paths]
    check_members(paths, manifests)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name another directory")
    task = _task(manifests[0])
    records = _calibration_records(manifests, task, data, max_bad)
    scorer = averaged_scorer(paths)
    renderer = ChatRenderer(AutoTokenizer.from_pretrained(paths[0]), manifests[0]["span"])
    model = RewardModel(scorer, renderer, task, calibration.Calibration())
    model.calibration = _calibrated(model, records, float(manifests[0]["config"]["threshold_fpr"]))
    out.mkdir(parents=True, exist_ok=True)
    _save(model, paths, manifests, out)
    model.directory = out
    return model


def check_members(paths: Sequence[Path], manifests: Sequence[dict[str, Any]]) -> None:
    """Raise ``ValueError`` unless the models are of one task, base, head and tokenizer."""
    if len({path.resolve() for path in paths}) < 2:
        raise ValueError(f"an average needs at least two different models, not {', '.join(map(str, paths))}")
    facts = [_comparable(path, manifest) for path, manifest in zip(paths, manifests, strict=True)]
    for path, own in zip(paths, facts, strict=True):
        for name, value in own.items():
            if value != facts[0][name]:
                raise ValueError(
                    f"{paths[0]} and {path} cannot be averaged: {name} is {facts[0][name]!r} and {value!r}"
                    + (
                        ". Weights that no pretrained model brings, such as the score head, must begin alike: train "
                        "with the same init_seed and with other values of seed"
                        if name == "init_seed"
                        else ""
                    )
                )


def _comparable(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The facts that must be equal in all members, by the names that an error gives them."""
    if "config" not in manifest:
        raise ValueError(f"{path / MANIFEST} holds no configuration: the model was not trained by `keel train rm`")
    if "attributes" in manifest:
        raise ValueError(f"{path} has attribute heads; models with one score are averaged")
    config = manifest["config"]
    base = config["model"]
    architecture = {k: v for k, v in _architecture(path).items() if k not in IGNORED and "drop" not in k}
    return {
        "task": _task(manifest),
        "span": manifest["span"],
        "tokenizer and template (fingerprint)": manifest["template_fingerprint"],
        "model.path": base["path"],
        "model.revision": base["revision"],
        "init_seed": config["seed"] if config.get("init_seed") is None else config["init_seed"],
        **{f"{key} of the architecture": architecture[key] for key in sorted(architecture)},
    }


def _architecture(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "config.json").read_text(encoding="utf-8")))


def _task(manifest: dict[str, Any]) -> Task:
    task = saved_task(manifest)
    assert task is not None
    return task


def averaged_scorer(paths: Sequence[Path]) -> SequenceScorer:
    """The mean of the weights, computed in float64 and kept in the first model's dtype. Adapters are merged first.

    Raises:
        ValueError: a weight is missing in one of the models, has another shape, or is not finite.
    """
    first = load_scorer(str(paths[0]), None)
    total = {name: weight.double() for name, weight in first.classifier.state_dict().items()}
    for path in paths[1:]:
        weights = load_scorer(str(path), None).classifier.state_dict()
        for name in sorted(total.keys() | weights.keys()):
            if name not in total or name not in weights or total[name].shape != weights[name].shape:
                raise ValueError(f"{paths[0]} and {path} cannot be averaged: the weight {name} differs in shape")
            total[name] += weights[name].double()
    own = first.classifier.state_dict()
    for name, weight in total.items():
        mean = weight / len(paths)
        if not torch.isfinite(mean).all():
            raise ValueError(f"the mean of {name} is not finite: one of the models is broken")
        own[name].copy_(mean)  # a state_dict shares its tensors with the module
    return first


def _calibration_records(
    manifests: Sequence[dict[str, Any]], task: Task, data: Sequence[str], max_bad: int
) -> list[RewardRecord]:
    if data:
        _check_unseen(manifests, data)
        return list(load(list(data), TASKS[task].record_type, max_bad=max_bad).records)  # type: ignore[arg-type]
    settings = [(m["data_fingerprint"], m["config"]["data"]["calibration_fraction"]) for m in manifests]
    if len(set(settings)) > 1:
        raise ValueError(
            "the models were trained on different data, so that the calibration split of one may be training data of "
            "another; name rows that none was trained on with --data"
        )
    try:
        records = list(load_records(DataConfig(**manifests[0]["config"]["data"]), task).calibration)
    except SourceError as error:
        raise SourceError(
            f"{error} (training data of the models, for calibration; or name other rows with --data)"
        ) from None
    if len(records) < 2:
        raise ValueError(
            f"the models' calibration split holds {len(records)} records; name rows that none was trained on with "
            "--data"
        )
    return records


def _check_unseen(manifests: Sequence[dict[str, Any]], data: Sequence[str]) -> None:
    """Raise ``ValueError`` if a source of ``data`` is one that a member was trained on.

    Sources are compared, not rows: a copy of training rows in another file is not noticed.
    """
    seen = {place for m in manifests for spec in m["config"]["data"]["train"] for place in _places(spec)}
    for spec in data:
        if not seen.isdisjoint(_places(spec)):
            raise ValueError(
                f"{spec} is training data of the models: a calibration on it would be too confident. Name other rows "
                "with --data, or leave --data out if all models have the same training data"
            )


def _places(spec: str) -> set[str]:
    files = (os.path.expandvars(os.path.expanduser(file)) for file in expand(spec))
    return {str(Path(file).resolve()) if Path(file).exists() else file for file in files}


def _calibrated(model: RewardModel, records: Sequence[RewardRecord], threshold_fpr: float) -> calibration.Calibration:
    pairs = [(record.prompt, reply) for record in records for reply in ordered_responses(record)]
    scores = np.array([score.raw for score in model.score_responses(pairs)]).reshape(len(records), -1)
    label = np.array([label_value(record) for record in records])
    return calibration.fit(scores, label, model.task, threshold_fpr=threshold_fpr)


def _save(model: RewardModel, paths: Sequence[Path], manifests: Sequence[dict[str, Any]], out: Path) -> None:
    first = manifests[0]
    facts = {
        "task": model.task,
        "span": model.span,
        "template_fingerprint": model.renderer.fingerprint,
        "data_fingerprint": first["data_fingerprint"],
        "calibration": model.calibration.to_facts(),
    }
    save_model(model.scorer, model.scorer.classifier.state_dict(), out, model.renderer.tokenizer, facts, None)
    same_data = len({m["data_fingerprint"] for m in manifests}) == 1
    if same_data and (paths[0] / BASELINE).is_file():
        shutil.copyfile(paths[0] / BASELINE, out / BASELINE)
    members = [
        {
            "model": str(path.resolve()),
            "data_fingerprint": manifest["data_fingerprint"],
            **{key: manifest["config"][key] for key in ("seed", "epochs", "max_steps", "batch_size")},
            "lr": manifest["config"]["engine"]["lr"],
        }
        for path, manifest in zip(paths, manifests, strict=True)
    ]
    manifest = facts | {
        "averaged": members,
        "config": first["config"],
        "data": first["data"],
        "evaluation": {},
        "world_size": 1,
        "versions": package_versions("tokenizers"),
    }
    artifact.write_manifest(out, manifest, [])
