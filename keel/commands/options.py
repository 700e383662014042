"""Options that several commands share, and the rules by which their words are read."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

Dtype = Literal["fp32", "bf16", "fp16"]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[key=value]...", help="Settings that replace the file's, e.g. engine.lr=1e-5 data.train=[a.jsonl]"
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="OURS=THEIRS", help="Read the column THEIRS as OURS, e.g. chosen=good. Repeatable."
    ),
]
MaxBad = Annotated[int, typer.Option("--max-bad", min=0, help="Number of bad rows that are accepted and left out.")]
MaxTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens of one forward pass; memory grows with it. Default: 16384, on a CPU 4096."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU if there is one.")]
DtypeOption = Annotated[
    Dtype | None, typer.Option("--dtype", help="Data type of weights and computation; default: as saved.")
]

_SETTING = re.compile(r"[A-Za-z_]\w*(\.\w+)*=")


def column_mapping(columns: Sequence[str] | None) -> dict[str, str] | None:
    """``--column`` options as a mapping from our column names to the file's.

    Raises:
        ValueError: a word is not of the form OURS=THEIRS, or a column is named twice.
    """
    mapping = dict(column.split("=", 1) for column in columns or () if "=" in column)
    if len(mapping) != len(columns or ()):
        raise ValueError("--column: write each column once, as OURS=THEIRS")
    return mapping or None


def refuse_overwriting(option: str, outputs: Iterable[Path], inputs: Iterable[str]) -> None:
    """Raise ``ValueError`` if a file that a command is going to write is one that it reads.

    Args:
        option: the option that names the output, for the message.
        inputs: files, globs and other data specs.
    """
    from reward_models.data.sources import expand

    refuse_files(option, outputs, (Path(file) for spec in inputs for file in expand(spec)))


def refuse_files(option: str, outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """The same for inputs that are files."""
    read = {file.resolve() for file in inputs}
    for output in outputs:
        if output.resolve() in read:
            raise ValueError(f"{option}: {output} is one of the inputs and would be overwritten; name another")


def output_file(option: str, path: Path, inputs: Iterable[str]) -> None:
    """Check the file that a command is going to write.

    Raises:
        ValueError: it is a directory, or one of the inputs.
    """
    if path.is_dir():
        raise ValueError(f"{option}: {path} is a directory; name a file in it, e.g. {path / 'scores.jsonl'}")
    refuse_overwriting(option, [path], inputs)


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate data sources from settings; a setting is a word that begins with ``key=`` or ``key.key=``.

    A path of that form is written with ``./`` before it.
    """
    settings = [word for word in words if _SETTING.match(word)]
    return [word for word in words if not _SETTING.match(word)], settings


def setting(key: str, value: object) -> str:
    """``key=value`` with the value quoted, so that it is read back as it is."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def start_ranks(module: str, config: str | None, words: Sequence[str], processes: int) -> NoReturn:
    """Replace this process by a launcher that runs a program on several ranks; signals reach the launcher itself.

    A dry run needs the first rank only, which is told their number: the launcher would add its traceback to a refusal.
    """
    words = [*(["--config", config] if config else []), *words]
    if "--dry-run" in words:
        counted = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "RANK": "0", "LOCAL_RANK": "0"}
        os.execve(sys.executable, [sys.executable, "-m", module, *words], {**os.environ, **counted})
    program = ["--module", module, *words]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    os.execv(sys.executable, [*launch, *program])
