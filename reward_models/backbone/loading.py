"""Loading of weights, all of which must be there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


def load_complete(
    kind: Any, path: str | Path, *, may_lack: Callable[[str], bool] = lambda _: False, **options: Any
) -> tuple[Any, set[str]]:
    """``kind.from_pretrained(path, **options)``, which must find every weight; returns those that ``may_lack`` excused.

    Raises:
        ValueError: a weight is absent or has another shape, or a file cannot be read.
    """
    try:
        model, found = kind.from_pretrained(path, output_loading_info=True, **options)
    except (RuntimeError, SafetensorError) as error:  # other shapes; a file that was cut short
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    missing = set(found["missing_keys"])
    if wrong := sorted(key for key in missing if not may_lack(key)):
        named = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise ValueError(
            f"{path} is incomplete or of another architecture: it lacks the weights {named}. Copy the model anew"
        )
    return model, missing
