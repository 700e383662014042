"""Settings of the language model that is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align.policy.templates import template_text
from reward_models.backbone.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(ModelConfig):
    """The language model to train: :class:`reward_models.backbone.config.ModelConfig`; ``chat_template`` may also name
    one of the templates of :mod:`align.policy.templates`: ``r1_zero``, ``r1``.
    """

    def template(self) -> str | None:
        """The text of ``chat_template``. ``ValueError`` if there is no such template or file."""
        return None if self.chat_template is None else template_text(self.chat_template)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """The frozen language model that ``loss.kind=reverse_kl`` learns from. Every rank holds all of it,
    or asks a server.

    Attributes:
        path: hub name, directory or GGUF file, as ``model.path``. Its tokenizer must be the policy's.
        revision: branch, tag or commit of a hub model.
        url: of a vLLM server that serves the model of ``path``, of which only the tokenizer is read here then. The
            divergence is estimated from the log-probabilities of the sampled tokens.
        dtype: of its weights; ``auto``: ``engine.dtype``.
        trust_remote_code: run model code from the hub.
    """

    path: str
    revision: str | None = None
    url: str | None = None
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"teacher.url={self.url!r} must begin with http:// or https://")
        if self.url is not None and self.dtype != "auto":
            raise ValueError(f"teacher.dtype={self.dtype} has no effect with teacher.url: the server has its own")
