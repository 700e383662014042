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
    data: Annotated[
        Path,
        typer.Option(help="File of rows (.jsonl, .json, .csv, .parquet) with response, answer, tests, … as needed."),
    ],
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
    explained = explain_rows(term, arguments, _rows(data))
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", errors="replace") as stream:
        for each in explained:
            stream.write(json.dumps({"score": each.score, "reason": each.reason}, ensure_ascii=False) + "\n")
    scores = [each.score for each in explained if each.score is not None]
    mean = f", mean {sum(scores) / len(scores):.4g}" if scores else ""
    missing = len(explained) - len(scores)
    first = next((each.reason for each in explained if each.score is None), "")
    number = "1 row has" if missing == 1 else f"{missing:,} rows have"
    without = f"{number} no score, see the reason ({first[:200]})" if missing else "every row has a score"
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


def _rows(data: Path) -> list[Any]:
    """The rows of a file in order; of a line that is no JSON, ``None``.

    Raises:
        ValueError: there is no such file, it has no row, or it cannot be read.
    """
    from reward_models.data.files import BadRow, data_suffix, read_rows

    if not data.is_file() or (data_suffix(data) in ("", ".jsonl") and data.suffix != ".gz"):
        return [_row(line) for line in _lines(data)]
    rows = list(read_rows(data))
    if bad := next((each for each in rows if isinstance(each, BadRow)), None):
        raise ValueError(f"--data: {bad.file}:{bad.line}: {bad.reason}")
    if not rows:
        raise ValueError(f"no rows in {data}")
    return [each[1] for each in rows if not isinstance(each, BadRow)]


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
