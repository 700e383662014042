"""``keel rewards``: what a reward term says of given responses, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from keel.failures import failures

app = typer.Typer(help="Try reward terms on responses.", no_args_is_help=True)


@app.callback()
def rewards_commands() -> None:
    """Try reward terms on responses."""


@app.command("try")
@failures()
def try_command(
    term: Annotated[
        str,
        typer.Option(
            help="accuracy (the verifier that a row's column verifier names), accuracy_math, format, language, "
            "repetition, … or package.module:Class."
        ),
    ],
    data: Annotated[Path, typer.Option(help="JSONL file; a row has response, answer, tests, language, … as needed.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write: one line for every row, in order.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An argument of the term, e.g. answer_form=any. Repeatable."),
    ] = None,
) -> None:
    """Score responses with one reward term, and say why each has its score.

    Every line of the output is {"score": number or null, "reason": text}: the text read as the answer, the test that
    failed, the foreign words; for null the fault of the reference or of the row.
    """
    from align.rewards.explain import explain_rows

    arguments = _arguments(settings or [])
    lines = [line for line in data.read_text(encoding="utf-8").split("\n") if line.strip()]
    explained = explain_rows(term, arguments, [_row(line) for line in lines])
    with out.open("w", encoding="utf-8", errors="replace") as stream:
        for each in explained:
            stream.write(json.dumps({"score": each.score, "reason": each.reason}, ensure_ascii=False) + "\n")
    scores = [each.score for each in explained if each.score is not None]
    mean = f", mean {sum(scores) / len(scores):.4g}" if scores else ""
    missing = len(explained) - len(scores)
    typer.echo(f"{len(scores):,} rows with a score{mean}, {missing:,} without, in {out}", err=True)


def _arguments(settings: Sequence[str]) -> dict[str, Any]:
    """``key=value`` words; a value is JSON where it can be read as such, else text.

    Raises:
        ValueError: a word has no ``=``.
    """
    found: dict[str, Any] = {}
    for word in settings:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ValueError(f"--set {word}: write key=value")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _row(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
