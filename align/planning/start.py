"""The shape of a model that a plan starts from, also where an earlier stage has yet to make it."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from typing import Any

import yaml

from reward_models.backbone.config import ModelConfig
from reward_models.planning.fit import shape_of
from reward_models.planning.shapes import ModelShape, ShapeError, read_shape


def policy_shape(model: ModelConfig, given: str | None = None) -> ModelShape:
    """The shape of ``given``, a name or a ``config.json``; else that of ``model``, see :func:`shape_to_be`.

    Raises:
        ShapeError: the sizes cannot be told; the message says how to give them.
    """
    if given is not None:
        return read_shape(given)
    try:
        return shape_to_be(model)
    except ShapeError as error:
        raise ShapeError(
            f"model.path={model.path}: {error}. Give the model that it is trained from: --model-shape "
            "Qwen/Qwen2.5-7B, or a config.json"
        ) from None


def shape_to_be(model: ModelConfig) -> ModelShape:
    """The shape of a model that is here, or that presets make.

    A directory that is not there yet has the shape of the model that the presets which make it begin with:
    ``runs/r1_stage1`` is made by ``r1_stage1`` from ``runs/sft_r1``, and that by ``sft_r1`` from a model of the hub.

    Raises:
        ShapeError: the sizes cannot be told.
    """
    try:
        return shape_of(model)
    except ValueError as error:  # also of a directory that is not there
        made = made_by_presets(model.path or "")
        if made is None:
            raise ShapeError(str(error)) from None
        first, chain = made
        shape = shape_of(first)
        source = f"{shape.source}; {model.path} is not here, and is taken as made by {' from '.join(chain)}"
        return replace(shape, source=source)


def made_by_presets(path: str) -> tuple[ModelConfig, list[str]] | None:
    """The model that the chain of presets which makes ``path`` begins with, and their names, the last one first."""
    files: dict[str, Any] = {}
    for package in ("reward_models", "align"):
        with resources.as_file(resources.files(package) / "presets") as folder:
            files |= {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in folder.glob("*.yaml")}
    makers: dict[str, tuple[str, dict[str, Any]]] = {
        settings["output_dir"]: (name, settings["model"])
        for name, settings in files.items()
        if "output_dir" in settings and "model" in settings
    }
    chain: list[str] = []
    path = path.rstrip("/")
    model: dict[str, Any] = {}
    while path in makers and makers[path][0] not in chain:
        name, model = makers[path]
        chain.append(f"the preset {name}")
        path = model.get("path", "")
    if not chain:
        return None
    sizes = {key: model[key] for key in ("path", "config", "vocab_size") if key in model}
    return ModelConfig(**sizes), chain
