"""The configuration of ``keel sample``; the defaults of sampling are those of DeepSeek-R1."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from align.policy.config import PolicyConfig
from align.rewards.build import TermConfig, check_terms
from align.rewards.terms import TermError
from align.rollouts.config import PromptsConfig

LONGEST = 32768  # tokens of a response; DeepSeek-R1's limit
USUAL = (TermConfig(term="accuracy"),)


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Sampling from a policy into a file; ``keel sample key=value …``.

    Attributes:
        model: the policy. With ``servers`` only its tokenizer and its end tokens are read here.
        prompts: what is answered; ``prompts.train`` names the sources.
        out: the JSONL file of the samples.
        rewards: terms that score every sample, as in ``keel train align``. The default measures the accuracy of prompts
            with an answer. ``[]``: nothing is scored.
        samples: responses to each prompt.
        temperature: 0 takes the likeliest token.
        top_p: sample from the likeliest tokens that together have this probability; 1 switches this off.
        top_k: sample from so many likeliest tokens; 0 switches this off.
        max_new_tokens: longest response; a longer one is cut there. Default: 32,768, or as much as the model's
            positions leave behind the longest prompt.
        seed: with it, a response depends only on its prompt's place and its own number, and on the weights; in bf16
            also on its batch, that is on ``chunk``, ``max_rows`` and the ranks, for sums are rounded by it.
        servers: addresses of vLLM servers that hold the policy; they share the prompts. Empty: sample here.
        dtype: of weights and computation here; ``auto``: as saved.
        max_rows: sequences that are sampled at once on one rank; memory grows with it.
        chunk: responses that are sampled, scored and saved together; a kill loses at most these.
        start_seconds: how long to wait for a server to be up. ``request_seconds``: for the responses to one prompt.
        reward_time_limit: seconds for one call of a reward term.
        max_reward_failures: share of a chunk's samples that a term may fail on; beyond it the command stops.
        overwrite: replace the file instead of continuing it.
        timeout_seconds: time that ranks wait for one another before the job fails.
    """

    model: PolicyConfig = field(default_factory=PolicyConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    out: str = "runs/samples.jsonl"
    rewards: list[TermConfig] = field(default_factory=lambda: list(USUAL))
    samples: int = 16
    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 0
    max_new_tokens: int | None = None
    seed: int = 0
    servers: list[str] = field(default_factory=list)
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    max_rows: int = 256
    chunk: int = 256
    start_seconds: float = 600.0
    request_seconds: float = 1800.0
    reward_time_limit: float = 600.0
    max_reward_failures: float = 0.1
    overwrite: bool = False
    timeout_seconds: float = 7200

    def __post_init__(self) -> None:
        for name in ("samples", "max_rows", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens} must be at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError("temperature and top_k must not be negative, and top_p lies above 0 and at most at 1")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(f"samples={self.samples} at temperature 0 would all be the same: set samples=1")
        if wrong := [url for url in self.servers if not url.startswith(("http://", "https://"))]:
            raise ValueError(f"servers: {wrong[0]!r} must begin with http:// or https://")
        if min(self.start_seconds, self.request_seconds, self.reward_time_limit) <= 0:
            raise ValueError("start_seconds, request_seconds and reward_time_limit must be positive")
        if not 0 <= self.max_reward_failures <= 1:
            raise ValueError("max_reward_failures must be a share between 0 and 1")
        if Path(self.out).suffix != ".jsonl":
            raise ValueError(f"out={self.out} must be a JSONL file, e.g. {Path(self.out).with_suffix('.jsonl')}")
        try:
            check_terms(self.rewards, foreign=False)
        except TermError as error:
            raise ValueError(error) from None


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SampleConfig):
    """The evaluation of a policy by samples; ``keel evaluate policy key=value …``.

    Attributes:
        out: the JSONL file of the samples; evaluation.json and report.html are written beside it.
        against: samples of another policy on the same prompts, to compare with.
    """

    out: str = "runs/evaluation/samples.jsonl"
    against: list[str] = field(default_factory=list)

    @property
    def sampling(self) -> SampleConfig:
        """The settings of the sampling alone."""
        return SampleConfig(**{each.name: getattr(self, each.name) for each in fields(SampleConfig)})


# Settings that a resumed run may change, for the samples do not depend on them.
MAY_CHANGE = (
    *("out", "max_rows", "chunk", "start_seconds", "request_seconds", "reward_time_limit"),
    *("max_reward_failures", "overwrite", "timeout_seconds", "servers"),
)
