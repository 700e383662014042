"""``keel data``: check data, and prepare them for training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from keel.commands.options import Columns, MaxBad, column_mapping, output_file, refuse_overwriting
from keel.failures import CommandFailed, failures
from reward_models.data.records import Conflicts, Domain, RecordType

if TYPE_CHECKING:
    from reward_models.data.sources import BadRow

app = typer.Typer(help="Check preference, safety and prompt data, and prepare them for training.", no_args_is_help=True)

SPEC_HELP = (
    "Files or globs (.jsonl, .json, .csv, .parquet; .gz too), hub data sets (owner/name, owner/name/subset, "
    "owner/name:split), or built-in examples (synthetic:helpful, synthetic:safety, synthetic:reasoning, with :test)."
)
Specs = Annotated[list[str], typer.Argument(metavar="DATA...", help=SPEC_HELP)]
TypeOption = Annotated[
    RecordType | None, typer.Option("--type", help="The type of the records. Default: inferred from the columns.")
]
DomainOption = Annotated[
    Domain | None, typer.Option("--domain", help="The domain of prompts whose rows do not name one.")
]


@app.command("check")
@failures()
def check_command(
    paths: Specs,
    evaluation: Annotated[
        list[str] | None, typer.Option("--eval", metavar="DATA", help="Evaluation data to compare with. Repeatable.")
    ] = None,
    record_type: TypeOption = None,
    domain: DomainOption = None,
    column: Columns = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Count lengths with this tokenizer (a name or a directory); words without one.")
    ] = None,
    max_bad: MaxBad = 0,
    bad_rows: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write every bad row with its contents to this file.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the reports as JSON.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of rows to read of each source at most.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Print so many records of each source as they were read.")] = 0,
) -> None:
    """Report the contents of data: rows, lengths, labels, duplicates, conflicts, prompts shared with the evaluation.

    Bad rows are counted by reason, each with the first file and line; --bad-rows and --json list them all. Exits with
    1 if there are more of them than --max-bad, with 2 if a source cannot be read.
    """
    from reward_models.data.check import check, print_reports, shown

    for option, file in (("--bad-rows", bad_rows), ("--json", json_file)):
        if file is not None:
            output_file(option, file, [*paths, *(evaluation or [])])
    with _bad_row_writer(bad_rows) as write_bad:
        reports = check(
            paths,
            evaluation or [],
            record_type=record_type,
            tokenizer=_tokenizer(tokenizer) if tokenizer else None,
            limit=limit,
            columns=column_mapping(column),
            domain=domain,
            on_bad=write_bad,
            on_record=lambda record, place: typer.echo(shown(record)) if place < show else None,
        )
    if json_file:
        content = json.dumps([report.to_json() for report in reports], indent=2, ensure_ascii=False)
        json_file.write_text(content + "\n", encoding="utf-8")
    print_reports(reports, Console())
    bad = sum(len(report.bad) for report in reports)
    if bad > max_bad:
        raise CommandFailed(f"{bad} bad rows, {max_bad} allowed (--max-bad)")


@app.command("prepare")
@failures()
def prepare_command(
    data: Specs,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where train.jsonl, eval.jsonl and report.json go.")],
    eval_fraction: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the prompts to hold out.")] = 0.05,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Evaluation data whose prompts must not be trained on. Repeatable."),
    ] = None,
    conflicts: Annotated[
        Conflicts, typer.Option(help="Same content, contradicting labels: drop all, keep both, or keep the first.")
    ] = "drop",
    seed: Annotated[int, typer.Option(help="Seed of the draw of the held-out prompts.")] = 0,
    record_type: TypeOption = None,
    domain: DomainOption = None,
    column: Columns = None,
    max_bad: MaxBad = 0,
) -> None:
    """Remove duplicates and the evaluation's prompts, split by prompt, and write files ready to train on.

    report.json counts every row that is left out, by reason. Exits with 1 if there are more bad rows than
    --max-bad, with 2 if a source cannot be read.
    """
    from reward_models.data.prepare import prepare

    files = [out / name for name in ("train.jsonl", "eval.jsonl", "report.json")]
    refuse_overwriting("--out", files, [*data, *(against or [])])
    report = prepare(
        data,
        out,
        record_type=record_type,
        eval_fraction=eval_fraction,
        against=against or [],
        conflicts=conflicts,
        seed=seed,
        max_bad=max_bad,
        columns=column_mapping(column),
        domain=domain,
    )
    typer.echo(
        f"read {report.read} rows: {len(report.bad)} bad, {report.duplicates} duplicates, "
        f"{report.contradictions} contradictions, {sum(report.contaminated.values())} in the evaluation"
    )
    for name, count in report.written.items():
        typer.echo(f"wrote {count} records on {report.prompts[name]} prompts to {out / name}.jsonl")


@app.command("judge-prompts")
@failures()
def judge_prompts_command(
    data: Specs,
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="Where the prompts go.")],
    column: Columns = None,
    max_bad: MaxBad = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of rows to read of each source at most.")] = None,
) -> None:
    """Make prompts of judged pairs, to train a judge by reinforcement learning.

    A prompt shows a conversation and two responses, and asks for the letter of the better one, which the verifier
    choice compares with the pair's verdict. Every pair is shown in both orders. Ties, pairs without a verdict and
    pairs of which nothing can be told apart are left out and counted.
    """
    from collections import Counter

    from align.rewards.judges.letters import judge_prompts
    from reward_models.data.sources import load

    output_file("--out", out, data)
    pairs = load(data, "pair", max_bad=max_bad, limit=limit, columns=column_mapping(column)).records
    left_out: Counter[str] = Counter()
    rows = list(judge_prompts(pairs, left_out))
    said = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    if not rows:
        raise CommandFailed(f"no pair of {len(pairs)} makes a prompt: {said}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    typer.echo(
        f"wrote {len(rows)} prompts of {len(rows) // 2} pairs to {out}" + (f"; left out: {said}" if said else "")
    )


@contextmanager
def _bad_row_writer(path: Path | None) -> Iterator[Any]:
    """A function that appends a bad row to ``path``, or does nothing."""
    if path is None:
        yield lambda row: None
        return
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield lambda row: _write_bad(row, file)


def _write_bad(row: BadRow, file: IO[str]) -> None:
    content = {"file": row.file, "line": row.line, "reason": row.reason, "row": row.row}
    file.write(json.dumps(content, ensure_ascii=False, default=repr) + "\n")


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    from reward_models.data.sources import SourceError

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise SourceError(f"no tokenizer {name!r}: {str(error)[:200]}") from error
