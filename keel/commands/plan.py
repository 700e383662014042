"""``keel plan``: memory, tokens, time and cost of a reinforcement-learning run on a cluster, before it is started."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keel.commands.options import Overrides, output_file
from keel.failures import failures

if TYPE_CHECKING:
    from align.config import AlignConfig
    from align.planning.lengths import Lengths
    from align.planning.plan import Plan, ScoringModel
    from align.planning.rates import Rates
    from reward_models.planning.shapes import ModelShape

LENGTH = "Mean tokens of a response: a number, or points [[step, mean], ...] between which it changes."
ASSUME = "Another value of an assumption, NAME=VALUE; the plan lists all of them. Repeatable."


def plan_command(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a preset, of keel train align.")],
    overrides: Overrides = None,
    gpu: Annotated[str, typer.Option(help="H100, H200, H800, A100-80, B200, RTX-4090, …; or another name.")] = "H100",
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of a machine.")] = 8,
    rollout_gpus: Annotated[int, typer.Option(min=0, help="GPUs that only sample; 0: all train and sample.")] = 0,
    replica_gpus: Annotated[int, typer.Option(min=0, help="GPUs of a copy that samples; 0: the fewest.")] = 0,
    overlap: Annotated[bool, typer.Option(help="Sample the next rollout while this one is learnt from.")] = False,
    price: Annotated[float, typer.Option(min=0, help="Price of a GPU hour.")] = 2.0,
    length: Annotated[str | None, typer.Option(help=LENGTH)] = None,
    samples: Annotated[Path | None, typer.Option(help="A samples.jsonl whose lengths are drawn.")] = None,
    measured: Annotated[Path | None, typer.Option(help="A run whose rates are taken instead of derived.")] = None,
    model_shape: Annotated[str | None, typer.Option(help="The model's config.json, or a known name.")] = None,
    reward_model_shape: Annotated[str | None, typer.Option(help="The same of reward models that are not here.")] = None,
    memory_gb: Annotated[float | None, typer.Option(help="Memory of the device, in GB.")] = None,
    tflops: Annotated[float | None, typer.Option(help="Its peak in bf16, in TFLOP/s.")] = None,
    gbs: Annotated[float | None, typer.Option("--bandwidth-gbs", help="Bandwidth of its memory, in GB/s.")] = None,
    assume: Annotated[list[str] | None, typer.Option(help=ASSUME)] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file; the timeline is drawn beside it (.svg).")] = None,
) -> None:
    """Plan a reinforcement-learning run: memory of a rank, tokens, time, cost, and what binds.

    The schedule is simulated with lengths that are drawn, and with rates that follow from the model's shape and the
    device, or that were measured in a run. Everything that is assumed is printed.
    """
    with failures():
        from align.config import AlignConfig
        from align.planning.assumptions import assumptions_for
        from align.planning.cluster import Cluster
        from align.planning.plan import make_plan
        from align.planning.report import lines
        from align.planning.start import policy_shape
        from reward_models.planning.devices import device
        from reward_models.planning.shapes import read_shape
        from reward_models.runtime.config import load_config

        if out is not None:
            output_file("--out", out, [])
        settings = load_config(AlignConfig, config, overrides or [])
        assumptions = assumptions_for(settings.rollout.engine, assume or [])
        shape = policy_shape(settings.model, model_shape)
        chosen = device(gpu, memory=_times(memory_gb, 1e9), flops=_times(tflops, 1e12), bandwidth=_times(gbs, 1e9))
        sizes = {"nodes": nodes, "per_node": gpus_per_node, "rollout_devices": rollout_gpus, "replica": replica_gpus}
        together = overlap or (settings.rollout.ahead > 0 and rollout_gpus > 0)
        cluster = Cluster(device=chosen, overlap=together, price=price, **sizes)
        plan = make_plan(
            settings,
            shape,
            cluster,
            assumptions,
            _lengths(settings, length, samples, assumptions.length_deviation),
            reward_models=_reward_models(settings, shape, reward_model_shape),
            teacher=None if settings.teacher is None else read_shape(settings.teacher.path),
            rates=None if measured is None else _rates(settings, measured),
        )
        for line in lines(plan):
            typer.echo(line)
        if out is not None:
            _write(plan, out)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _write(plan: Plan, out: Path) -> None:
    from align.planning.picture import svg
    from align.planning.report import as_json

    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(as_json(plan), indent=1), encoding="utf-8")
    out.with_suffix(".svg").write_text(svg(plan), encoding="utf-8")
    typer.echo(f"\nwritten: {out} and {out.with_suffix('.svg')}")


def _lengths(config: AlignConfig, given: str | None, samples: Path | None, deviation: float) -> Lengths:
    """Lengths from ``--samples``, from ``--length``, or both: the observed ones scaled to that mean."""
    import yaml

    from align.planning.lengths import Lengths, observed_lengths
    from align.schedule import parse_schedule

    observed = observed_lengths(samples) if samples is not None else ()
    if given is not None:
        mean = parse_schedule(yaml.safe_load(given), "--length")
    elif observed:
        mean = sum(observed) / len(observed)
    else:
        raise ValueError(
            "--length is missing: the mean tokens of a response, e.g. --length 4000 or --length '[[0, 700], [8000, "
            "9000]]'; or give --samples RUN/samples.jsonl"
        )
    values = [value for _, value in mean] if isinstance(mean, list) else [mean]
    if min(values) < 1:
        raise ValueError("--length: a response has one token at least")
    return Lengths(mean, deviation, observed)


def _reward_models(config: AlignConfig, policy: ModelShape, given: str | None) -> list[ScoringModel]:
    """The reward models that the run loads; the shape of those that are not here is ``given``, else the policy's."""
    from align.planning.dry_run import offloaded_models, reward_model_paths
    from align.planning.plan import ScoringModel
    from reward_models.planning.shapes import ShapeError, read_shape

    found: list[ScoringModel] = []
    elsewhere = offloaded_models(config)
    for path, domains in reward_model_paths(config).items():
        try:
            shape = read_shape(path)
        except ShapeError:
            shape = policy if given is None else read_shape(given)
            shape = replace(shape, name=f"{path} is not here: as large as {shape.name}")
        found.append(ScoringModel(shape, domains, offload=path in elsewhere))
    return found


def _rates(config: AlignConfig, run: Path) -> Rates:
    from align.planning.rates import measured_rates

    watched = {guard.watch for guard in config.guards}
    passes = (config.steps_per_rollout > 1) + bool(config.loss.beta) + ("kl_first" in watched)
    responses = config.prompts_per_rollout * config.samples_per_prompt
    return measured_rates(run, responses, passes, config.steps_per_rollout)
