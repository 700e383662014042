"""``keel sample``: responses of a policy to prompts, scored, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from keel.commands.options import Overrides, output_file, setting, start_ranks
from keel.failures import failures


@failures()
def sample_command(
    overrides: Overrides = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="The policy: a directory, a hub name, a GGUF file, or package:NAME/FILE.gguf."
        ),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="File, glob, hub data set or synthetic: source of prompts. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="File to write: a line per response, prompt after prompt.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", min=1, help="Responses to each prompt.")] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A vLLM server that holds the policy; several share the prompts. Repeatable."),
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help="YAML file, or a preset: sample_r1")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Ranks on this machine, usually one per GPU.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace the file instead of continuing it.")] = False,
) -> None:
    """Sample several responses to each prompt, at DeepSeek-R1's settings, and score them.

    Settings such as temperature=0.6 max_new_tokens=1024 `rewards=[{term: accuracy}]` are printed by `keel config
    sample`. The same command continues after a stop or a kill, to the same rows. Beside the file lies
    FILE.jsonl.manifest.json with the model, the settings and the yield.
    """
    words = [
        *([setting("model.path", model)] if model is not None else []),
        *([setting("prompts.train", prompts)] if prompts else []),
        *([setting("out", str(out))] if out is not None else []),
        *([f"samples={samples}"] if samples is not None else []),
        *([setting("servers", server)] if server else []),
        *(["overwrite=true"] if overwrite else []),
        *(overrides or []),
    ]
    _run(config, words, processes)


def _run(config: str | None, words: list[str], processes: int) -> None:
    from align.samples.config import SampleConfig
    from reward_models.runtime.config import load_config

    settings = load_config(SampleConfig, config, words)
    output_file("out", Path(settings.out), settings.prompts.train)
    if processes > 1:
        start_ranks("align.sample", config, words, processes)
    from align.samples.sampling import sample

    done = sample(settings)
    resumed = f", {done.resumed:,} of them from an earlier run" if done.resumed else ""
    typer.echo(f"{done.rows:,} samples in {settings.out}{resumed}")
    for domain, figures in done.figures.items():
        typer.echo(f"{domain}: {_told(figures)}")


def _told(figures: dict[str, Any]) -> str:
    """The yield of a domain in a line."""
    parts = [f"{figures['prompts']:,} prompts", f"{figures['tokens_mean']:,.0f} tokens a response"]
    parts.append(f"{figures['truncated']:.1%} cut")
    if figures["correct"] is not None:
        parts.append(f"{figures['correct']:.1%} correct, {figures['prompts_solved']:.1%} of prompts solved")
    parts += [f"{name} {value:.3f}" for name, value in figures["scores"].items() if not name.startswith("accuracy")]
    return "; ".join(parts)
