"""Supervised fine-tuning of a policy on demonstrations, with TRL's ``SFTTrainer``: the cold start of DeepSeek-R1."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase, TrainerCallback

from align.policy.config import PolicyConfig
from align.policy.policy import Policy, build_policy, end_ids, load_tokenizer, policy_architecture, save_policy
from align.policy.templates import template_text
from align.reporting.manifest import MANIFEST, write_manifest
from align.sft.demonstrations import Demonstrations, DemonstrationsConfig, encode, load_conversations
from reward_models.data.chat import train_tokenizer
from reward_models.data.records import Conversation
from reward_models.runtime.checkpoint import latest_intact
from reward_models.runtime.disk import explain_full_disk, write_checksums
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import NonFiniteError, full_weights, torch_dtype, zero_section
from reward_models.runtime.metrics import NullLog, RunLog
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.run import Run, RunDirectory, StopSignal, begin_run, check_sources
from reward_models.runtime.training_config import RUN_MAY_CHANGE, EngineConfig, RunConfig

# Trainer's checkpoints fit only the ZeRO stage that wrote them: a resumed run may change little else.
MAY_CHANGE = (*RUN_MAY_CHANGE, "model.gradient_checkpointing")
FINGERPRINT = "demonstrations.txt"  # in the run's directory: the fingerprint of the demonstrations
IGNORED = -100  # torch's label of a token without loss
# TRL's names of what it logs, and ours
LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
    "num_tokens": "tokens",
}


@dataclass(frozen=True, kw_only=True)
class SftConfig(RunConfig):
    """A whole run; ``keel train sft --config FILE key=value …``. The loss is a mean over the tokens of a whole batch.

    Attributes:
        model: the model to start from, or a new one, which trains a tokenizer unless one is named. Where the tokenizer
            has no chat template, ``r1`` is used unless another is named.
        data: what to learn from; only what the assistant says is learnt.
        epochs: how often to go over it. ``max_steps``: stop after this many steps.
        batch_size: conversations per optimizer step, over all ranks. ``micro_batch_size``: those that a rank computes
            at once; memory grows with it. Where a step has several micro-batches, each holds conversations of similar
            length, so that little is padded.
    """

    output_dir: str = "runs/sft"
    model: PolicyConfig = field(default_factory=PolicyConfig)
    data: DemonstrationsConfig = field(default_factory=DemonstrationsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    epochs: float = 2.0
    max_steps: int | None = None
    batch_size: int = 64
    micro_batch_size: int = 8
    save_every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.path is None and self.model.config is None:
            raise ValueError("give model.path (a pretrained model) or model.config (a new one)")
        for name in ("batch_size", "micro_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.epochs <= 0 or (self.max_steps is not None and self.max_steps < 1):
            raise ValueError("epochs and max_steps must be positive")

    def total_steps(self, demonstrations: int) -> int:
        steps = math.ceil(self.epochs * math.ceil(demonstrations / self.batch_size))
        return steps if self.max_steps is None else min(steps, self.max_steps)


def train(config: SftConfig) -> Path | None:
    """Train a policy, or resume; returns its directory, or ``None`` if a signal stopped the run early."""
    if not config.data.train:
        raise ValueError("data.train is empty: name at least one file, hub data set or synthetic: source")
    with begin_run(config, may_change=MAY_CHANGE, manifest=MANIFEST, result="policy") as run:
        return run.path if run.finished else _train(config, run)


def _train(config: SftConfig, run: Run) -> Path | None:
    if config.batch_size % (config.micro_batch_size * run.world.size):
        raise ValueError(
            f"batch_size={config.batch_size} is no multiple of micro_batch_size={config.micro_batch_size} times "
            f"{run.world.size} ranks"
        )
    conversations, bad = load_conversations(config.data)
    tokenizer = tokenizer_for(config.model, conversations)
    data = encode(conversations, tokenizer, _longest(config, tokenizer), end_ids(config.model))
    checkpoint = _latest(run)
    _check_same(run, data, checkpoint)
    total_steps = config.total_steps(len(data))
    _describe(run.reporter, data, bad, total_steps, checkpoint)
    policy, trainer = build(config, run.directory, tokenizer, data, run.world)

    first_step = _steps_of(checkpoint) if checkpoint is not None else 0
    with (
        StopSignal() as stop,
        run.reporter.progress("policy", total_steps, first_step, config.log_every) as bar,
        closing(run.open_log(first_step)) as log,
    ):
        trainer.add_callback(_Loop(log, run.reporter, bar, stop, run.world))
        with explain_full_disk(f"a checkpoint in {run.directory.checkpoints}"):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    if (done := trainer.state.global_step) < total_steps:
        run.reporter.say(f"stopped by a signal after step {done}, saved; the same command resumes the run")
        return None
    weights = full_weights(policy.model, run.world)
    if run.world.is_main:
        save_policy(policy, weights, run.path, tokenizer, config.model.lora)
        facts = {"count": len(data), "dropped": data.dropped, "bad": bad, "fingerprint": data.fingerprint}
        write_manifest(run.path, config, {"steps": done, "demonstrations": facts, "world_size": run.world.size})
    run.world.barrier()
    run.reporter.say(f"saved to {run.path}")
    return run.path


def build(
    config: SftConfig, run: RunDirectory, tokenizer: PreTrainedTokenizerBase, data: Demonstrations, world: World
) -> tuple[Policy, Any]:
    """The policy, and TRL's trainer around its model."""
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTTrainer

    torch.manual_seed(config.seed)
    # Rows are padded, in TRL's way. Trainer keeps fp32 weights beside bf16 computation; DeepSpeed makes them itself.
    plain = replace(config.model, layout="padded")
    dtype = torch_dtype(config.engine) if config.engine.zero_stage else torch.float32
    new = build_policy(plain, tokenizer, dtype) if config.model.path is None else None
    # From here on transformers loads models partitioned over the ranks, if ZeRO stage 3 wants that. A new model is
    # made whole before: made in parts, it would draw other random weights.
    arguments = training_arguments(config, run, config.total_steps(len(data)), world)
    policy = new if new is not None else build_policy(plain, tokenizer, dtype)
    # The labels are complete: the trainer renders, tokenizes and masks nothing.
    columns = {
        "input_ids": [ids.tolist() for ids in data.ids],
        "labels": [
            torch.where(torch.from_numpy(learnt), torch.from_numpy(ids), IGNORED).tolist()
            for ids, learnt in zip(data.ids, data.learnt, strict=True)
        ],
    }
    model: Any = policy.model
    order = ByLength([len(ids) for ids in data.ids], config.batch_size, config.seed)

    class Trainer(SFTTrainer):  # trl is slow to import, and imported here
        def _get_train_sampler(self, *dataset: Any) -> Any:
            several = config.batch_size > config.micro_batch_size * world.size
            return order if several else super()._get_train_sampler(*dataset)

    trainer = Trainer(model, arguments, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    return policy, trainer


def training_arguments(config: SftConfig, run: RunDirectory, total_steps: int, world: World) -> Any:
    """TRL's configuration for these settings."""
    from trl import SFTConfig as TrlConfig

    engine, on_cpu = config.engine, world.device.type == "cpu"
    bf16 = engine.dtype == "bf16"
    zero = zero_section(engine) | (
        {"stage3_gather_16bit_weights_on_model_save": True} if engine.zero_stage == 3 else {}
    )
    deepspeed = {
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bf16},
        "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }
    return TrlConfig(
        output_dir=str(run.checkpoints),
        seed=config.seed,
        max_steps=total_steps,
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // (config.micro_batch_size * world.size),
        max_length=None,  # nothing is cut: what is too long has been left out
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=None,  # type: ignore[arg-type]  # build_policy has switched it on where it is wanted; TRL would by itself
        learning_rate=engine.lr,
        lr_scheduler_type=engine.schedule,
        lr_scheduler_kwargs=engine.schedule_options or None,
        warmup_steps=engine.warmup,
        weight_decay=engine.weight_decay,
        adam_beta1=engine.betas[0],
        adam_beta2=engine.betas[1],
        adam_epsilon=engine.eps,
        max_grad_norm=engine.grad_clip,
        optim="adamw_torch",
        bf16=bf16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        deepspeed=deepspeed if engine.zero_stage else None,
        ddp_find_unused_parameters=False,
        ddp_timeout=math.ceil(config.timeout_seconds),
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or total_steps,
        save_total_limit=config.keep_checkpoints,
        report_to="none",
        disable_tqdm=True,
    )


class ByLength(Sampler[int]):
    """The places of conversations in a random order; those of one optimizer step are sorted by length.

    Micro-batches are cut from this order, and so hold little padding. Which conversations a step learns from is what
    Trainer's own sampler would choose, and their loss is one mean over all tokens of the step.

    Args:
        lengths: tokens of each conversation. ``batch_size``: conversations of a step, over all ranks.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        for start in range(0, len(order), self._batch_size):
            yield from sorted(order[start : start + self._batch_size], key=self._lengths.__getitem__)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; Trainer calls it."""
        self._epoch = epoch


class _Loop(TrainerCallback):
    """Passes Trainer's metrics to our log and progress; after a signal it saves and stops at the next step."""

    def __init__(self, log: RunLog | NullLog, reporter: Reporter, bar: Any, stop: StopSignal, world: World) -> None:
        self._log, self._reporter, self._bar, self._stop, self._world = log, reporter, bar, stop, world

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == state.max_steps:
            control.should_log = True  # and so checked, before it is saved
        if self._stop.anywhere(self._world):
            control.should_log = control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._world.barrier()  # every rank has written its files
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self._world.is_main and checkpoint.is_dir():
            write_checksums(checkpoint, [file for file in sorted(checkpoint.rglob("*")) if file.is_file()], 0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        values: dict[str, float] = {
            ours: float(logs[theirs]) for theirs, ours in LOGGED.items() if logs and theirs in logs
        }
        if "loss" not in values:  # Trainer's summary at the end
            return
        if not (math.isfinite(values["loss"]) and math.isfinite(values.get("grad_norm", 0.0))):
            raise NonFiniteError(f"step {state.global_step}: the loss or the gradient is not finite; nothing was saved")
        self._log.write(state.global_step, values, epoch=state.epoch)
        shown: dict[str, float] = {name: values[name] for name in ("loss", "token_accuracy") if name in values}
        self._reporter.step(self._bar, state.global_step, shown)


def tokenizer_for(config: PolicyConfig, conversations: Sequence[Conversation]) -> PreTrainedTokenizerBase:
    """The model's own, or one trained on the demonstrations; with the chat template ``r1`` if it has none."""
    tokenizer = load_tokenizer(config)
    if tokenizer is None:
        # roles are words of the chat template
        texts = (f"{m.role}\n{m.content}" for conversation in conversations for m in conversation)
        tokenizer = train_tokenizer(texts, config.vocab_size)
        tokenizer.chat_template = config.template() or template_text("r1")
    elif tokenizer.chat_template is None:
        tokenizer.chat_template = template_text("r1")
    return tokenizer


def _longest(config: SftConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """``data.max_length``, or what the model's positions allow."""
    limit = getattr(policy_architecture(config.model, tokenizer), "max_position_embeddings", None)
    return min(config.data.max_length, limit or config.data.max_length)


def _latest(run: Run) -> Path | None:
    """The last whole checkpoint. Trainer writes its state last: where it is missing, a kill came before."""
    found = [path for path in run.directory.checkpoints.glob("checkpoint-*") if path.name[11:].isdecimal()]
    whole = sorted((path for path in found if _is_whole(path)), key=_steps_of)
    return latest_intact(whole, run.world, run.reporter.say)


def _steps_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return True


def _check_same(run: Run, data: Demonstrations, checkpoint: Path | None) -> None:
    """Refuse to resume with other demonstrations; write the fingerprint of these."""
    file = run.path / FINGERPRINT
    if checkpoint is not None:
        check_sources(checkpoint, file.read_text(encoding="utf-8"), data.fingerprint, "demonstrations")
    run.world.barrier()
    if run.world.is_main:
        file.write_text(data.fingerprint, encoding="utf-8")


def _describe(reporter: Reporter, data: Demonstrations, bad: int, total_steps: int, checkpoint: Path | None) -> None:
    """Report the numbers of demonstrations read and left out."""
    left_out = {"bad rows": bad} | data.dropped
    out = "".join(f"; {number:,} left out ({reason})" for reason, number in left_out.items() if number)
    tokens, learnt = sum(map(len, data.ids)), int(sum(mask.sum() for mask in data.learnt))
    reporter.say(f"{len(data):,} demonstrations{out}")
    reporter.say(f"{total_steps:,} steps; {tokens:,} tokens an epoch, of which {learnt:,} are learnt")
    if checkpoint is not None:
        reporter.say(f"resuming from {checkpoint}")
