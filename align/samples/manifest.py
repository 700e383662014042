"""The identity of samples, and ``FILE.jsonl.manifest.json``, which is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from align.rollouts.prompts import PromptSet
from align.rollouts.served import Served
from align.samples.config import MAY_CHANGE, SampleConfig
from align.samples.yields import Yield
from reward_models.backbone import pretrained
from reward_models.runtime.config import dump_config, with_defaults
from reward_models.runtime.resumable import ResumableLines
from reward_models.runtime.run import package_versions

EDGE = 1 << 20  # bytes of each end of a file of weights that identify it


def manifest_of(out: Path) -> Path:
    """The file beside the samples that says how they were made; it is written last."""
    return out.with_name(f"{out.name}.manifest.json")


def identity(config: SampleConfig, prompts: PromptSet) -> dict[str, Any]:
    """All that the samples depend on."""
    return {
        "config": _deciding(yaml.safe_load(dump_config(config))),
        "engine": "server" if config.servers else "local",
        "model": model_digest(config),
        "prompts": prompts.fingerprint,
    }


def complete(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity of samples that an earlier version began: settings that it did not have are at their defaults."""
    if not isinstance(identity.get("config"), dict):
        return identity
    return identity | {"config": _deciding(with_defaults(SampleConfig, identity["config"]))}


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that samples depend on."""
    return {key: value for key, value in settings.items() if key not in MAY_CHANGE}


def model_digest(config: SampleConfig) -> str:
    """A digest of the policy's files: names, sizes, ends of the weights; of a model on the hub the name."""
    digest, path = hashlib.sha256(), pretrained.resolve(config.model)
    assert path is not None
    place = Path(path)
    files = sorted(place.iterdir()) if place.is_dir() else []
    for file in files:
        if file.suffix not in (".safetensors", ".json", ".bin"):
            continue
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(EDGE))
            opened.seek(max(0, size - EDGE))
            digest.update(opened.read())
    if not files:
        digest.update(f"{path} {config.model.revision}".encode())
    return digest.hexdigest()[:16]


def write_manifest(
    config: SampleConfig, job: Mapping[str, Any], lines: ResumableLines, prompts: PromptSet, servers: Sequence[Served]
) -> None:
    """Everything that is known about the samples."""
    manifest = {
        "rows": lines.rows,
        "config": yaml.safe_load(dump_config(config)),
        "model": {"path": config.model.path, "digest": job["model"]},
        "servers": [asdict(server) for server in servers],
        "prompts": {"count": len(prompts), "dropped": prompts.dropped, "fingerprint": job["prompts"]},
        "yield": Yield(lines.facts.get("yield")).figures(),
        "seconds": lines.facts.get("seconds", 0.0),
        "versions": package_versions("math-verify"),
    }
    file = manifest_of(Path(config.out))
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.replace(file)
