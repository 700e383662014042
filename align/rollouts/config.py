"""Settings of the prompts, of the order in which they are drawn, and of the engine that answers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from reward_models.data.records import DOMAINS


@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    """The prompts of a run and how they are read.

    Attributes:
        train: files, globs, hub data sets (``owner/name[/subset][:split]``), ``synthetic:reasoning:train`` or
            ``reasoning_gym:TASK?size=500&level=0-3``.
        columns: our column names to the source's, where they differ.
        domain: of prompts whose row does not name one; a prompt with an answer is ``reasoning`` unless this says else.
        domains: the same for single sources, e.g. ``{"nvidia/HelpSteer3:train": helpfulness}``.
        language: of prompts whose row does not name one, as an ISO 639-1 code.
        limit: the most rows to read of each training source.
        max_bad: how many bad rows may be left out; one more stops the run before it starts.
        max_length: longest rendered prompt in tokens; longer ones are left out and counted.
        decontaminate: leave out training prompts that occur in the evaluation sources.
    """

    RENAMED: ClassVar[dict[str, str]] = {"kind": "domain", "kinds": "domains"}
    RENAMED_VALUES: ClassVar[dict[str, dict[str, str]]] = {"domain": {"helpful": "helpfulness"}}

    train: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    domain: str | None = None
    domains: dict[str, str] = field(default_factory=dict)
    language: str | None = None
    limit: int | None = None
    max_bad: int = 0
    max_length: int = 2048
    decontaminate: bool = True

    def __post_init__(self) -> None:
        if unknown := sorted({*self.domains.values(), *([self.domain] if self.domain else [])} - set(DOMAINS)):
            raise ValueError(f"prompts: {', '.join(unknown)} is no domain; there are {', '.join(DOMAINS)}")
        for name, least in (("limit", 1), ("max_bad", 0), ("max_length", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"prompts.{name}={value} must be at least {least}")


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """The choice of prompts by how often the policy solved them.

    Attributes:
        by: ``pass_rate``: leave out for a time what is always or never solved, and open levels one by one. ``none``:
            draw all prompts alike.
        visits: so many visits in a row on which all responses to a prompt were right (or all wrong) put it into the
            pool ``always`` (``never``).
        rest: rollouts for which a prompt in one of these two pools is left out; then it is drawn again.
        raise_at: mean pass rate of a source's highest open level at which the next one opens.
        raise_after: the last visits over which this mean is taken; so many there must have been since it opened.
    """

    by: Literal["none", "pass_rate"] = "none"
    visits: int = 2
    rest: int = 20
    raise_at: float = 0.7
    raise_after: int = 32

    def __post_init__(self) -> None:
        if min(self.visits, self.rest, self.raise_after) < 1 or not 0 < self.raise_at <= 1:
            raise ValueError(
                "curriculum: visits, rest and raise_after must be at least 1, and raise_at a share above 0"
            )


URLS = ("http://127.0.0.1:8000",)
# Settings that one engine alone reads, and that engine. `overlap`, `ahead` and `adapters` have checks of their own, and
# `max_rows` may stay in a configuration whose engine is changed on the command line.
READ_BY = {
    **dict.fromkeys(("urls", "vllm_group_port", "vllm_start_seconds", "vllm_request_seconds"), "vllm"),
    "vllm_memory": "vllm_colocated",
}


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """The rollout engine and its settings.

    Attributes:
        engine: ``local``: the training model itself. ``vllm``: vLLM servers, which are sent the weights before each
            rollout. ``vllm_colocated``: a vLLM engine in each training process, in turns with the updates.
        overlap: vllm: an update begins when the prompts that it learns from are answered and scored, while the servers
            go on with the rest of the rollout. The result is the same.
        ahead: vllm: sample so many rollouts ahead, 0 or 1, with the weights from before the updates of the rollout
            under way. The result is another one; it needs ``overlap`` and ``loss.correction``.
        max_rows: local, vllm_colocated: sequences sampled at once on one rank.
        vllm_memory: vllm_colocated: share of a GPU's memory for the engine while it samples. Beside it there must be
            room for what training keeps.
        urls: of the servers, which share the prompts of a rollout.
        adapters: vllm, with ``model.lora``: ``merged``: servers are sent all weights, adapters added. ``sent``: they
            are sent the frozen weights once, and then adapters alone, as files below ``output_dir``, which they must
            be able to read.
        vllm_group_port: of the main rank's machine, for the weights of the first server; each further server takes the
            next port.
        vllm_start_seconds: how long to wait for the servers to be up.
        vllm_request_seconds: longest time for the responses to one prompt; ``timeout_seconds`` must be longer than a
            whole rollout, during which all ranks wait.
    """

    RENAMED: ClassVar[dict[str, str]] = {"vllm_base_url": "urls"}

    engine: Literal["local", "vllm", "vllm_colocated"] = "local"
    overlap: bool = False
    ahead: int = 0
    max_rows: int = 256
    vllm_memory: float = 0.4
    urls: list[str] = field(default_factory=lambda: list(URLS))
    adapters: Literal["merged", "sent"] = "merged"
    vllm_group_port: int = 51216
    vllm_start_seconds: float = 600.0
    vllm_request_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if self.max_rows < 1 or min(self.vllm_start_seconds, self.vllm_request_seconds) <= 0:
            raise ValueError("rollout: max_rows, vllm_start_seconds and vllm_request_seconds must be positive")
        if not self.urls:
            raise ValueError("rollout.urls is empty: name at least one server")
        if wrong := [url for url in self.urls if not url.startswith(("http://", "https://"))]:
            raise ValueError(f"rollout.urls: {wrong[0]!r} must begin with http:// or https://")
        if len({url.rstrip("/") for url in self.urls}) < len(self.urls):
            raise ValueError(f"rollout.urls names a server twice: {', '.join(self.urls)}")
        if not 0 < self.vllm_memory < 1:
            raise ValueError(f"rollout.vllm_memory={self.vllm_memory} must be a share between 0 and 1")
        for name, engine in READ_BY.items():
            usual = list(URLS) if name == "urls" else getattr(type(self), name)
            if engine != self.engine and getattr(self, name) != usual:
                raise ValueError(
                    f"rollout.{name} has no part in rollout.engine={self.engine}: set rollout.engine={engine}, or take "
                    "it out"
                )
        if self.overlap and self.engine != "vllm":
            does = "samples with that model" if self.engine == "local" else "takes turns with the updates"
            raise ValueError(
                "rollout.overlap=true needs an engine that goes on while the model is updated, and rollout.engine="
                f"{self.engine} {does}: set rollout.engine=vllm, or rollout.overlap=false"
            )
        if self.ahead not in (0, 1):
            raise ValueError(f"rollout.ahead={self.ahead}: a run samples 0 or 1 rollouts ahead")
        if self.ahead and not self.overlap:
            raise ValueError("rollout.ahead=1 samples while the model is updated: set rollout.overlap=true too")
