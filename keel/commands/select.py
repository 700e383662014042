"""``keel data select``: from samples of a policy to data for fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from keel.commands.options import refuse_overwriting, setting, split_settings
from keel.failures import failures


@failures()
def select_command(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SAMPLES]... [key=value]...",
            help="Files of keel sample, and settings such as per_prompt=2 weights={mathematics: 4, general: 2} "
            "(`keel config select` prints all of them).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For train.jsonl, random.jsonl, report.json and report.html."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Evaluation data that must not be learnt from. Repeatable."),
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help="YAML file, or a preset: select_r1")] = None,
) -> None:
    """Select right and readable samples to learn from: the rejection sampling of DeepSeek-R1.

    Of prompts that a verifier judges, right responses are kept; of others those that the reward ranks highest. With
    judge.url=URL judge.model=NAME a language model compares responses with the reference answer where no verifier
    decides; the key for its endpoint is read from KEEL_JUDGE_API_KEY. Filters
    leave out cut and malformed responses, mixed languages, long paragraphs and code in the thoughts, repetition,
    duplicates and contamination, and the report counts each. random.jsonl holds as many samples of the same prompts
    at random: train on both to see whether selecting did anything.
    """
    sources, settings = split_settings(data or [])
    words = [
        *([setting("samples", sources)] if sources else []),
        *([setting("against", against)] if against else []),
        *([setting("out", str(out))] if out is not None else []),
        *settings,
    ]
    _run(config, words)


def _run(config: str | None, words: list[str]) -> None:
    from align.samples.select import run_selection
    from align.samples.selection import SelectConfig
    from align.samples.selection_report import PAGE, RANDOM, REPORT, TRAIN
    from reward_models.runtime.config import load_config

    loaded = load_config(SelectConfig, config, words)
    out = Path(loaded.out)
    inputs = [*loaded.samples, *loaded.against, *(other.data for other in loaded.others)]
    refuse_overwriting("--out", [out / name for name in (TRAIN, RANDOM, REPORT, PAGE)], inputs)
    _print(run_selection(loaded), out)


def _print(facts: dict[str, Any], out: Path) -> None:
    typer.echo(f"{facts['samples']:,} samples, {facts['kept']:,} kept")
    for step in facts["filters"]:
        if step["dropped"]:
            typer.echo(f"  {step['dropped']:,} left out: {step['filter']}")
    if judge := facts.get("judge"):
        typer.echo(
            f"  the judge was asked about {judge['asked']:,}: {judge['right']:,} right, {judge['wrong']:,} wrong, "
            f"{judge['unread']:,} without a verdict; {facts['judge_costs']['judge_calls']:,.0f} calls, "
            f"{facts['judge_costs']['judge_cost']:.4g} paid"
        )
    if facts["without_language"]:
        typer.echo(f"  of {facts['without_language']:,} samples nobody named the language: it was not looked at")
    for name, subject in facts["subjects"].items():
        if subject["rows"]:
            tokens = "" if subject["tokens_mean"] is None else f", {subject['tokens_mean']:,.0f} tokens on average"
            typer.echo(f"{name}: {subject['rows']:,} rows ({subject['share']:.1%}){tokens}")
    for name, each in facts["sets"].items():
        correct = "" if each["correct"] is None else f", {each['correct']:.1%} correct"
        typer.echo(f"{name}: {each['rows']:,} rows{correct}")
    typer.echo(f"Report: {out / 'report.html'}")
