"""The configuration of a reward model's training."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from reward_models.attribute_weights import check_weights
from reward_models.backbone.config import ModelConfig
from reward_models.data.records import Task
from reward_models.dataset import DataConfig
from reward_models.keep_best import KeepBestConfig
from reward_models.runtime.training_config import COMPUTED, RUN_MAY_CHANGE, EngineConfig, RunConfig

# Settings that a resumed run may change: they do not change its result.
MAY_CHANGE = (
    *RUN_MAY_CHANGE,
    *COMPUTED,
    "max_tokens",
)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The loss. Each attribute applies to the task that its text begins with.

    Attributes:
        margin: helpful: times a comparison's strength gives the margin its scores must keep; 0 ignores strengths.
        tie_threshold: helpful: η of Rao & Kupper's model of ties; ``null`` trains ties towards equal scores.
        centering: helpful: weight of the penalty that keeps scores around zero.
        label_smoothing: both.
        class_weights: safety: ``balanced`` weighs both classes alike.
        deployed_safe_share: safety: share of safe responses where the model will be used; the loss is then shifted so
            that scores are calibrated for it instead of for the training data.
    """

    margin: float = 0.0
    tie_threshold: float | None = None
    centering: float = 0.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    deployed_safe_share: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError("loss.label_smoothing must be at least 0 and below 0.5")
        if not (self.margin >= 0 and self.centering >= 0):
            raise ValueError("loss.margin and loss.centering must not be negative")
        if self.tie_threshold is not None and self.tie_threshold <= 0:
            raise ValueError("loss.tie_threshold must be positive")
        if self.deployed_safe_share is not None and not 0 < self.deployed_safe_share < 1:
            raise ValueError("loss.deployed_safe_share is a share strictly between 0 and 1")


# Of the settings of the loss, the ties and the threshold: those that each training reads.
READ_BY: dict[str, frozenset[str]] = {
    "preference": frozenset(
        {"loss.margin", "loss.tie_threshold", "loss.centering", "loss.label_smoothing", "data.ties"}
    ),
    "safety": frozenset({"loss.label_smoothing", "loss.class_weights", "loss.deployed_safe_share", "threshold_fpr"}),
    "attributes": frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(RunConfig):
    """A whole training run; ``keel train rm --config FILE key=value …``.

    Attributes:
        task: ``preference``: pairwise, on comparisons. ``safety``: point-wise, on safe/unsafe labels.
        attributes: regress HelpSteer's attributes in place of preferences, on rated responses: the weight of each in
            the score, e.g. ``{helpfulness: 1.0, verbosity: -0.5}``; 0 for those that are not named.
        init_seed: seed of the weights that no pretrained model brings, such as the score head; default: ``seed``.
            Models to be averaged (``keel average``) need the same, and other values of ``seed``.
        epochs: how often to go over the training data. ``max_steps``: stop after this many steps.
        threshold_fpr: safety: the share of safe responses that the threshold saved with the model may call unsafe.
        batch_size: comparisons or labels per optimizer step, over all ranks.
        max_tokens: most tokens of one micro-batch on one rank; memory grows with it, the result does not depend on it.
        eval_every: in steps; 0: only at the end.
        keep_best: keep the best model by a held-out metric beside the last one.
    """

    RENAMED: ClassVar[dict[str, str]] = {"kind": "task"}
    RENAMED_VALUES: ClassVar[dict[str, dict[str, str]]] = {"task": {"helpful": "preference"}}

    task: Task = "preference"
    output_dir: str = "runs/reward_model"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    attributes: dict[str, float] = field(default_factory=dict)
    init_seed: int | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    threshold_fpr: float = 0.05
    batch_size: int = 256
    max_tokens: int = 16384
    eval_every: int = 0
    keep_best: KeepBestConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.path is None and self.model.config is None:
            raise ValueError("give model.path (a pretrained model) or model.config (a new one)")
        for name in ("batch_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.eval_every < 0:
            raise ValueError(f"eval_every={self.eval_every} must not be negative")
        if self.attributes:
            if self.task != "preference":
                raise ValueError("attributes go with the task preference")
            check_weights(self.attributes)
        self._check_unread()
        if not 0 < self.threshold_fpr < 1:
            raise ValueError(f"threshold_fpr={self.threshold_fpr} is a share strictly between 0 and 1")
        if self.keep_best is not None:
            self.keep_best.check(self.task, rated=bool(self.attributes))
            if not self.eval_every or not (self.data.eval or self.data.eval_fraction):
                raise ValueError(
                    f"keep_best: {self.keep_best.metric} is measured on held-out data while the run lasts: set "
                    "eval_every, and data.eval or data.eval_fraction"
                )
        if self.epochs <= 0 or (self.max_steps is not None and self.max_steps < 1):
            raise ValueError("epochs and max_steps must be positive")

    def _check_unread(self) -> None:
        """Raise ``ValueError`` if a setting differs from its default that this training does not read."""
        read = READ_BY["attributes" if self.attributes else self.task]
        settings = {f"loss.{each.name}": (getattr(self.loss, each.name), each.default) for each in fields(LossConfig)}
        settings["data.ties"] = (self.data.ties, DataConfig.ties)
        settings["threshold_fpr"] = (self.threshold_fpr, type(self).threshold_fpr)
        changed = [
            f"{name}={value}" for name, (value, usual) in settings.items() if value != usual and name not in read
        ]
        if changed:
            by = "with attributes" if self.attributes else f"with task={self.task}"
            raise ValueError(f"{', '.join(changed)} has no part in the training {by}: take it out")
