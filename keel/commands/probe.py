"""``keel probe``: how a model reacts to what a policy will try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keel.commands.options import Device, DtypeOption, MaxTokens, refuse_overwriting
from keel.failures import failures

PROMPTS = 64  # of the data, unless --limit says otherwise
app = typer.Typer(help="Probe models with what a policy will try.", no_args_is_help=True)


@app.command("rm")
@failures()
def probe_rm(
    model: Annotated[str, typer.Option(help="Directory of a trained reward model, or a hub name.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for probe.json and probe.html.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="File, glob or hub data set of labelled rows with good responses. Default: built-in texts."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Prompts of --data, spread evenly. Default: 64.")] = None,
    guards: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write guard rules for what did not pass: a section of keel train align."),
    ] = None,
    max_tokens: MaxTokens = None,
    device: Device = None,
    dtype: DtypeOption = None,
    max_bad: Annotated[
        int | None, typer.Option(min=0, help="Number of bad rows of --data that are accepted and left out. Default: 0.")
    ] = None,
) -> None:
    """Probe a reward model: padding, lists, flattery, praise, refusals, loops, sycophancy, other languages, think tags.

    A safety model is probed with what hides unsafe content. Each probe edits responses and measures what the score
    gains, in standard deviations of the scores of good responses. It passes if the whole 95 % interval is at
    or below the bound. Exits with 2 if the model or a source cannot be used.
    """
    from align.probe_guards import guards_yaml
    from reward_models.inference.reward_model import RewardModel
    from reward_models.probing.measure import probe_model
    from reward_models.probing.report import write_probed
    from reward_models.probing.trials import built_in, from_data

    if not data and (given := [n for n, v in (("--limit", limit), ("--max-bad", max_bad)) if v is not None]):
        raise ValueError(f"{' and '.join(given)}: these are of --data, and the built-in texts are always used whole")
    outputs = [out, out / "probe.json", out / "probe.html", *([guards] if guards else [])]
    refuse_overwriting("--out", outputs, data or [])
    loaded = RewardModel.load(model, device=device, dtype=dtype, max_tokens=max_tokens)
    task = loaded.task
    material = from_data(task, data, limit=limit or PROMPTS, max_bad=max_bad or 0) if data else built_in(task)
    probed = probe_model(loaded, material)
    page = write_probed(probed, out)
    for effect in probed.effects:
        mean, interval = effect.mean, effect.interval
        told = (
            "no responses"
            if mean is None or interval is None
            else f"{mean:+.2f} [{interval[0]:+.2f}, {interval[1]:+.2f}]"
        )
        typer.echo(f"{effect.probe.name:<20}{told:<26}at most {effect.probe.bound:+.1f}  {effect.outcome}")
    if material.bad:
        typer.echo(f"{material.bad:,} bad rows were left out", err=True)
    if guards is not None:
        guards.parent.mkdir(parents=True, exist_ok=True)
        failed = [effect.probe.name for effect in probed.effects if effect.outcome != "pass"]
        guards.write_text(guards_yaml(task, failed), encoding="utf-8")
        typer.echo(f"Guards: {guards}")
    typer.echo(f"Report: {page}")
