"""``keel rewards``: what a reward term says of given responses, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from keel.commands.options import output_file
from keel.failures import failures

app = typer.Typer(help="Try reward terms on responses.", no_args_is_help=True)


@app.callback()
def rewards_commands() -> None:
    """Try reward terms on responses."""


@app.command("try")
@failures("models")
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
    output_file("--out", out, [str(data)])
    lines = _lines(data)
    explained = explain_rows(term, arguments, [_row(line) for line in lines])
    with out.open("w", encoding="utf-8", errors="replace") as stream:
        for each in explained:
            stream.write(json.dumps({"score": each.score, "reason": each.reason}, ensure_ascii=False) + "\n")
    scores = [each.score for each in explained if each.score is not None]
    mean = f", mean {sum(scores) / len(scores):.4g}" if scores else ""
    missing = len(explained) - len(scores)
    without = f"{missing:,} rows have no score, see their reason" if missing else "every row has a score"
    typer.echo(f"{out}: {len(scores):,} of {len(explained):,} rows scored{mean}; {without}", err=True)


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


def _lines(data: Path) -> list[str]:
    """The lines of a file that are not blank.

    Raises:
        ValueError: there is no such file, it is not UTF-8, or it has no such line.
    """
    if not data.is_file():
        raise ValueError(f"--data: {data} is a directory, not a file" if data.is_dir() else f"--data: no file {data}")
    try:
        text = data.read_text(encoding="utf-8-sig")  # some programs put a byte order mark before the first line
    except UnicodeDecodeError as error:
        raise ValueError(f"--data: {data} is not UTF-8 at byte {error.start}; save the file again as UTF-8") from None
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"no rows in {data}")
    return lines


def _row(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
