"""``policy.json``, which stands beside a finished policy and says how it came about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from reward_models.runtime.config import dump_config
from reward_models.runtime.run import package_versions

MANIFEST = "policy.json"


def is_complete(directory: Path) -> bool:
    """True if the folder holds a finished policy: the manifest is written last."""
    return (directory / MANIFEST).is_file()


def write_manifest(directory: Path, config: Any, facts: dict[str, Any]) -> None:
    """All that is known of the policy's training: the resolved configuration, ``facts``, and versions."""
    manifest = {
        "config": yaml.safe_load(dump_config(config)),
        **facts,
        "versions": package_versions("math-verify"),
    }
    temporary = directory / f"{MANIFEST}.tmp"
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(directory / MANIFEST)
