"""``keel push``: upload a trained model to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keel.failures import failures


@failures()
def push_command(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished reward model or policy.")],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; default: private.")] = False,
    evaluation: Annotated[
        Path | None, typer.Option(help="evaluation.json of keel evaluate rm to upload instead of the model's own.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the files that would be uploaded, and stop.")
    ] = False,
) -> None:
    """Upload a model, its card and its evaluation to the hub; needs `hf auth login` or HF_TOKEN.

    Only the files of the model are uploaded: no checkpoints, samples or logs, and no symbolic links. Exits with 2 if
    there is no model, or the hub refuses.
    """
    from keel.push import plan
    from keel.push import push as upload

    planned = plan(directory, name, evaluation)
    typer.echo("\n".join(planned.lines(private=not public)), err=True)
    if not dry_run:
        typer.echo(upload(planned, private=not public))
