"""The shape of a language model: its parameters, and what a token costs, read from its configuration.

Parameters are counted by the formulas of the families in transformers, to the last one. Operations follow Kaplan et al.
(arXiv:2001.08361): 2 per parameter of the matrices that a token passes, and the attention term.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_models.planning.known import KNOWN


class ShapeError(ValueError):
    """The shape of a model cannot be told; the message says how to give it."""


DENSE = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "phi3", "gemma", "gemma3_text"})
MODEL_TYPES = DENSE | {"qwen3_moe", "deepseek_v3"}
QK_NORM = frozenset({"qwen3", "qwen3_moe", "gemma3_text"})  # one norm per head's width, of queries and of keys
TIED_BY_DEFAULT = frozenset({"gemma", "gemma3_text", "smollm3"})


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): keys and values are kept as one short vector."""

    query_rank: int
    key_value_rank: int
    plain: int  # width of a head's query without positions
    rotary: int  # width with positions; its key is shared by all heads
    value: int


@dataclass(frozen=True, kw_only=True)
class Experts:
    """Experts of the layers behind the first ``dense_layers``; a token passes ``active`` of ``count``, and the shared.

    Attributes:
        width: inner width of an expert. ``correction``: a bias per expert beside the router's weights.
    """

    count: int
    active: int
    width: int
    shared: int = 0
    dense_layers: int = 0
    correction: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a decoder. All counts are of parameters; ``tied``: the output layer is the embedding.

    Attributes:
        name: hub name or path. ``source``: where the sizes come from.
        biases: queries, keys and values have one. ``norms``: weights of norms in a layer, in units of ``hidden``.
    """

    name: str
    source: str
    model_type: str
    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    head: int
    inner: int
    vocabulary: int
    tied: bool
    biases: bool = False
    norms: int = 2
    experts: Experts | None = None
    latent: Latent | None = None

    # --- parameters -------------------------------------------------------------------------------------------------

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def attention_matrices(self) -> int:
        """Weights of one layer's attention that are matrices."""
        if (latent := self.latent) is not None:
            query = self.hidden * latent.query_rank + latent.query_rank * self.heads * (latent.plain + latent.rotary)
            down = self.hidden * (latent.key_value_rank + latent.rotary)
            up = latent.key_value_rank * self.heads * (latent.plain + latent.value)
            return query + down + up + self.heads * latent.value * self.hidden
        queries, keys = self.heads * self.head, self.key_value_heads * self.head
        return self.hidden * (queries + 2 * keys) + queries * self.hidden

    def mlp_matrices(self, layer: int, *, active: bool = False) -> int:
        """Weights of one layer's gated MLP or experts that are matrices; ``active``: of those that a token passes."""
        experts = self.experts
        if experts is None or layer < experts.dense_layers:
            return 3 * self.hidden * self.inner
        count = experts.shared + (experts.active if active else experts.count)
        return 3 * self.hidden * experts.width * count + self.hidden * experts.count

    @property
    def vectors(self) -> int:
        """Norms and biases of all layers."""
        queries, keys = self.heads * self.head, self.key_value_heads * self.head
        each = self.norms * self.hidden + (queries + 2 * keys if self.biases else 0)
        if self.model_type in QK_NORM:
            each += 2 * self.head
        if self.model_type == "olmo2":  # its norms of queries and keys are as wide as all heads
            each += queries + keys
        if self.latent is not None:
            each += self.latent.query_rank + self.latent.key_value_rank
        routed = self.experts is not None and self.experts.correction
        corrections = self.experts.count * (self.layers - self.experts.dense_layers) if self.experts and routed else 0
        return each * self.layers + corrections

    @property
    def backbone(self) -> int:
        """Parameters without the output layer."""
        matrices = sum(self.attention_matrices + self.mlp_matrices(layer) for layer in range(self.layers))
        return self.embedding + matrices + self.vectors + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters of the language model."""
        return self.backbone + (0 if self.tied else self.embedding)

    @property
    def largest_layer(self) -> int:
        return max(self.attention_matrices + self.mlp_matrices(layer) for layer in range(self.layers))

    @property
    def active(self) -> int:
        """Weights of the matrices that a token passes, the output layer among them, and no embedding."""
        inside = sum(self.attention_matrices + self.mlp_matrices(layer, active=True) for layer in range(self.layers))
        return inside + self.embedding

    # --- operations and memory of a token ---------------------------------------------------------------------------

    @property
    def attention_width(self) -> int:
        """Multiplications per layer and per key that a query token sees: scores and weighted values of all heads."""
        if self.latent is not None:
            return self.heads * (self.latent.plain + self.latent.rotary + self.latent.value)
        return 2 * self.heads * self.head

    def forward_flops(self, context: float) -> float:
        """Operations of one token that sees ``context`` tokens: 2 per weight, 2 per key and unit of width."""
        return 2.0 * self.active + 2.0 * self.layers * self.attention_width * context

    def cache_bytes(self, width: int = 2) -> int:
        """Bytes of the keys and values of one token; ``width``: bytes of a number."""
        if self.latent is not None:
            return self.layers * (self.latent.key_value_rank + self.latent.rotary) * width
        return self.layers * 2 * self.key_value_heads * self.head * width

    def weights_touched(self, tokens: float) -> float:
        """Expected number of weights that a decoding step of ``tokens`` sequences reads, experts drawn evenly."""
        experts = self.experts
        if experts is None:
            return float(self.active)
        share = 1.0 - (1.0 - experts.active / experts.count) ** tokens
        routed = 3 * self.hidden * experts.width * experts.count * (self.layers - experts.dense_layers)
        always = self.parameters - (0 if self.tied else self.embedding) - routed
        return always + share * routed


def shape_from_settings(settings: Mapping[str, Any], name: str, source: str) -> ModelShape:
    """The shape of a model with these settings, as its ``config.json`` has them.

    Raises:
        ShapeError: the architecture is none of :data:`MODEL_TYPES`, or a size is missing.
    """
    model_type = str(settings.get("model_type"))
    if model_type not in MODEL_TYPES:
        raise ShapeError(f"{name}: sizes of a {model_type} cannot be told; known are {', '.join(sorted(MODEL_TYPES))}")
    try:
        hidden, heads = int(settings["hidden_size"]), int(settings["num_attention_heads"])
        keys = settings.get("num_key_value_heads")
        return ModelShape(
            name=name,
            source=source,
            model_type=model_type,
            layers=int(settings["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            key_value_heads=int(keys) if keys is not None else heads,
            head=int(settings.get("head_dim") or hidden // heads),
            inner=int(settings["intermediate_size"]),
            vocabulary=int(settings["vocab_size"]),
            tied=bool(settings.get("tie_word_embeddings", model_type in TIED_BY_DEFAULT)),
            biases=model_type == "qwen2" or bool(settings.get("attention_bias")),
            norms=4 if model_type == "gemma3_text" else 2,
            experts=_experts(model_type, settings),
            latent=_latent(model_type, settings),
        )
    except KeyError as error:
        raise ShapeError(f"{name}: its configuration has no {error.args[0]}") from None


def _experts(model_type: str, settings: Mapping[str, Any]) -> Experts | None:
    if model_type == "qwen3_moe":
        return Experts(
            count=int(settings.get("num_experts") or settings["num_local_experts"]),
            active=int(settings["num_experts_per_tok"]),
            width=int(settings["moe_intermediate_size"]),
        )
    if model_type == "deepseek_v3":
        return Experts(
            count=int(settings.get("n_routed_experts") or settings["num_local_experts"]),
            active=int(settings["num_experts_per_tok"]),
            width=int(settings["moe_intermediate_size"]),
            shared=int(settings["n_shared_experts"]),
            dense_layers=int(settings["first_k_dense_replace"]),
            correction=True,
        )
    return None


def _latent(model_type: str, settings: Mapping[str, Any]) -> Latent | None:
    if model_type != "deepseek_v3":
        return None
    return Latent(
        query_rank=int(settings["q_lora_rank"]),
        key_value_rank=int(settings["kv_lora_rank"]),
        plain=int(settings["qk_nope_head_dim"]),
        rotary=int(settings["qk_rope_head_dim"]),
        value=int(settings["v_head_dim"]),
    )


def known_shape(name: str) -> ModelShape | None:
    """The shape of a public model by its hub name, whatever its case; ``None`` of others."""
    known = any(name.lower() in [each.lower() for each in settings["names"]] for settings in KNOWN)
    return read_shape(name) if known else None


def read_shape(path: str) -> ModelShape:
    """The shape of a model by a known hub name, a directory with ``config.json``, or such a file.

    Raises:
        ShapeError: it is none of these, or its sizes cannot be told.
    """
    settings, source = read_settings(path)
    return shape_from_settings(settings, path, source)


def read_settings(path: str) -> tuple[dict[str, Any], str]:
    """The settings of a model as in its ``config.json``, and where they come from; see :func:`read_shape`."""
    for known in KNOWN:
        if path.lower() in [each.lower() for each in known["names"]]:
            return known, str(known["source"])
    if path.endswith(".gguf"):
        raise ShapeError(f"{path}: sizes are not read from GGUF files")
    place = Path(path).expanduser()
    file = place / "config.json" if place.is_dir() else place
    if path.count("/") == 1 and not place.exists():
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(path, "config.json")
        file = Path(found) if isinstance(found, str) else file
    if not file.is_file():
        names = ", ".join(sorted(str(settings["names"][0]) for settings in KNOWN))
        raise ShapeError(
            f"the sizes of {path} are not known: there is no config.json of it here (keel plan takes one with "
            f"--model-shape). Known by name: {names}"
        )
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # also of a file that is no text
        raise ShapeError(f"{file} is not readable JSON: {error}") from None
    if not isinstance(settings, dict):
        raise ShapeError(f"{file} holds no settings of a model")
    return settings.get("text_config") or settings, str(file)
