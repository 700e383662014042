"""The model that a run starts from, checked before anything is loaded or written."""

from __future__ import annotations

from align.config import AlignConfig
from align.sft.trainer import SftConfig
from reward_models.backbone.location import lacks_directory
from reward_models.runtime.config import load_config, presets


def check_path(path: str | None) -> None:
    """``ValueError`` if no model is named."""
    if path is None:
        raise ValueError("model.path is empty: name a policy to start from; keel train sft makes one")


def missing_model(path: str | None) -> str | None:
    """The message for a ``model.path`` that is no directory here, with the command that makes it, else ``None``."""
    if path is None or path.startswith("package:") or not lacks_directory(path):
        return None
    maker = _maker(path)
    advice = f"`{maker}` makes it" if maker else "train that model first, or correct the path"
    return f"model.path: no directory {path} here; {advice}"


def _maker(path: str) -> str | None:
    """The command with a preset that writes its model to ``path``."""
    programs: tuple[tuple[str, type], ...] = (("sft", SftConfig), ("align", AlignConfig))
    for program, schema in programs:
        for name in presets(schema):
            if load_config(schema, name).output_dir == path.rstrip("/"):
                return f"keel train {program} --config {name}"
    return None
