"""The manifest of a trained reward model: the JSON file that is written last, so that its presence means "finished"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


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
