"""The root command. Each package brings its own sub-commands; heavy imports wait until a command runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from annotation_ui import commands as annotate_commands
from reward_models.data import commands as data_commands

app = typer.Typer(
    help="Preferences in, an aligned language model out.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)
train_app = typer.Typer(help="Train models.", no_args_is_help=True)
app.add_typer(annotate_commands.app, name="annotate")
app.add_typer(data_commands.app, name="data")
app.add_typer(train_app, name="train")

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file; see configs/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value]...", help="Settings over the file's, e.g. engine.lr=1e-5 data.train=[a.jsonl]"),
]


@train_app.command("rm")
def train_rm(
    overrides: Overrides = None,
    config: ConfigOption = None,
    processes: Annotated[int, typer.Option(min=1, help="Ranks on this machine, usually one per GPU.")] = 1,
) -> None:
    """Train a reward model: helpful (pairwise) or safety (point-wise), as the configuration's `kind` says.

    The same command goes on with a run that was stopped or killed. For several machines start
    `deepspeed --module reward_models.train --config FILE key=value ...`
    """
    words = [*(["--config", str(config)] if config else []), *(overrides or [])]
    if processes == 1:
        from reward_models.train import main

        raise typer.Exit(main(words))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    raise typer.Exit(subprocess.call([*launch, "--module", "reward_models.train", *words]))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the models and the report go.")] = Path("runs/demo"),
) -> None:
    """Train and evaluate both reward models on the built-in synthetic data: a CPU, no network, a few minutes."""
    from keel.demo import run

    run(out)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
