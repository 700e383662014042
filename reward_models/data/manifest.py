"""The files of a trained reward model that say what it is, read without loading it.

The manifest is the JSON file that is written last, so that its presence means "finished".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
KEEL_KEY = "keel"  # the key in a saved model's config.json that holds all of Keel's own entries


class ManifestError(ValueError):
    """A directory holds no readable manifest; the message names the file and the reason."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of the finished model in ``directory``.

    Raises:
        ManifestError: the file is missing, is not JSON, or holds no JSON object.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing: the directory holds no finished model of `keel train rm`") from None
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from None
    if not isinstance(manifest, dict):
        raise ManifestError(f"{path} holds no JSON object")
    return manifest


def saved_facts(path: str) -> dict[str, Any] | None:
    """Keel's entries in the ``config.json`` of the model in a directory; ``None`` if there is none here.

    Raises:
        ManifestError: the file is not JSON, or holds no JSON object.
    """
    file = Path(path).expanduser() / "config.json"
    if not file.is_file():
        return None
    try:
        facts = json.loads(file.read_text(encoding="utf-8")).get(KEEL_KEY)
    except (OSError, ValueError, AttributeError) as error:
        raise ManifestError(f"{file} cannot be read: {error}") from None
    return facts if isinstance(facts, dict) else {}
