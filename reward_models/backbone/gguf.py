"""GGUF files, llama.cpp's format, as plain transformers models.

transformers reads the format but neither partitions nor saves what it has read. A file is therefore converted once,
to fp32 safetensors in a cache folder; every later load, of any run and rank, reads that.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, hf_hub_download
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.import_utils import is_gguf_available

from reward_models.backbone.config import on_hub
from reward_models.backbone.loading import load_complete
from reward_models.backbone.location import reading_from_hub


def downloaded(path: str, revision: str | None) -> Path:
    """The file here that ``path`` names, which is downloaded if it is one on the hub.

    Raises:
        OSError: the hub does not have it, or cannot be reached.
    """
    place = on_hub(path)
    if place is None:
        return Path(path)
    repository, name = place
    with reading_from_hub(path):
        return Path(hf_hub_download(repository, name, revision=revision))


def converted(file: Path) -> Path:
    """The directory of a GGUF file's model and tokenizer in transformers' format, converted now if it is new.

    Raises:
        ValueError: the package ``gguf`` is not installed, or the file is not one that transformers reads.
    """
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    target = Path(constants.HF_HOME) / "keel-gguf" / f"{file.stem}-{key}"
    if target.is_dir():
        return target
    if not is_gguf_available():
        raise ValueError(f"{file}: reading GGUF files needs the package gguf; pip install gguf")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _convert(file, partial)
        try:
            partial.rename(target)
        except OSError:  # another process has finished the same conversion
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _convert(file: Path, directory: Path) -> None:
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        architecture = AutoConfig.from_pretrained(**source)
        tokenizer = AutoTokenizer.from_pretrained(**source)
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        raise ValueError(f"{file}: transformers cannot read this GGUF file: {error}") from error
    quantized, _ = load_complete(
        AutoModelForCausalLM, file.parent, gguf_file=file.name, config=architecture, dtype=torch.float32
    )
    settings = architecture.to_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(name, None)
    # What was read is marked as quantized and cannot be saved: a fresh model takes its weights.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(type(architecture).from_dict(settings), dtype=torch.float32)
    model.save_pretrained(directory, state_dict=quantized.state_dict())
    tokenizer.save_pretrained(directory)
