"""A spec (a file, a glob, a hub data set, synthetic data) becomes streams of rows."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from typing import Any, cast

from reward_models.data import gym_tasks
from reward_models.data.files import SUFFIXES, BadRow, arrow_row, data_suffix, read_rows, stem
from reward_models.data.formats import to_row
from reward_models.data.records import Record, RecordType
from reward_models.extras import needs

SYNTHETIC = (
    "helpful",
    "safety",
    "reasoning",
    "best_of_n",
    "demonstrations",
    "additions",
    "instructions",
    "good_replies",
)
Row = dict[str, Any]

_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<subset>[\w.\-/]+?))?(?::(?P<split>[\w\[\]%:.]+))?")


class SourceError(ValueError):
    """A spec that names nothing readable; the message says what is near."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows with one origin: ``file`` for bad rows, ``source`` for records."""

    file: str
    source: str
    rows: Iterator[tuple[int, Row] | BadRow]


def expand(spec: str) -> list[str]:
    """The files of a glob, each a spec; any other spec as it is."""
    expanded = os.path.expandvars(os.path.expanduser(spec))
    if glob.has_magic(expanded) and not Path(expanded).is_file():
        return [name for name in sorted(glob.glob(expanded, recursive=True)) if Path(name).is_file()] or [spec]
    return [spec]


def is_hub(spec: str) -> bool:
    """True if ``spec`` is read from the hub: it has the form of a data set's name, and no local file has this name."""
    if spec.startswith(("synthetic:", gym_tasks.PREFIX, ".", "/", "~", "$")) or "://" in spec or expand(spec) != [spec]:
        return False
    here = Path(spec).is_file() or Path(spec.partition(":")[0]).is_dir()
    return not here and not data_suffix(Path(spec)) and _HUB.fullmatch(spec) is not None


def lacks_file(spec: str) -> bool:
    """True if ``spec`` can only name files or a directory here, and there are none."""
    if spec.startswith(("synthetic:", gym_tasks.PREFIX)) or "://" in spec or is_hub(spec):
        return False
    expanded = os.path.expandvars(os.path.expanduser(expand(spec)[0]))
    return not Path(expanded).exists() and not Path(expanded.partition(":")[0]).is_dir()


def open_streams(spec: str, record_type: RecordType | None) -> list[Stream]:
    """The streams of a spec, one per file. :class:`SourceError` if it names nothing readable.

    ``record_type`` chooses between the records and the prompts of synthetic data.
    """
    if spec.startswith("synthetic:"):
        return [_synthetic(spec, prompts=record_type == "prompt")]
    if spec.startswith(gym_tasks.PREFIX):
        return [_of_rows(spec, gym_tasks.rows_of(spec))]
    if "://" in spec:
        return [_of_scheme(spec)]
    if len(files := expand(spec)) > 1:
        return [stream for file in files for stream in open_streams(file, record_type)]
    expanded = os.path.expandvars(os.path.expanduser(files[0]))
    path = Path(expanded)
    if path.is_file():
        return [_file(path)]
    directory, _, split = expanded.partition(":")
    if Path(directory).is_dir():
        return [_dataset(directory, Path(directory).resolve().name, None, split or "train")]
    hub = _HUB.fullmatch(expanded)
    if hub and not expanded.startswith((".", "/")) and not data_suffix(path):
        return [_dataset(hub["name"], expanded.partition(":")[0], hub["subset"], hub["split"] or "train")]
    raise SourceError(f"no file {expanded!r}{_near(path)}; a hub data set is written owner/name[/subset][:split]")


def _near(path: Path) -> str:
    """The names nearest to ``path`` in the deepest directory of it that exists."""
    parent = path.parent
    missing = path.name
    while not parent.is_dir():
        parent, missing = parent.parent, parent.name
    names = sorted(entry.name for entry in parent.iterdir())
    close = difflib.get_close_matches(missing, names, n=3, cutoff=0.5)
    return f"; nearest in {parent}/: {', '.join(close)}" if close else f"; nothing like it in {parent}/"


def _file(path: Path) -> Stream:
    if not data_suffix(path):
        raise SourceError(f"{path} has no ending that says how to read it; one of {', '.join(SUFFIXES)}")
    return Stream(str(path), stem(path), read_rows(path))


def _synthetic(spec: str, *, prompts: bool) -> Stream:
    """The synthetic records of a name, or its prompts, which are not those of the records but each there once."""
    _, name, split, *rest = (*spec.split(":"), "train") if spec.count(":") == 1 else spec.split(":")
    if name not in SYNTHETIC or split not in ("train", "test") or rest:
        raise SourceError(f"{spec!r} is not of the form synthetic:{'|'.join(SYNTHETIC)}[:train|test]")
    from reward_models.data.synthetic import draws as synthetic

    split = cast(synthetic.Split, split)
    if name in ("demonstrations", "additions", "good_replies"):
        pairs = getattr(synthetic, name)(split)
        replies = (to_row(prompt) | {"response": reply} for prompt, reply in pairs)
        return Stream(spec, f"synthetic:{name}", enumerate(replies, start=1))
    records: Iterator[Record]
    if name == "best_of_n":
        records = synthetic.candidates(split)
    elif name == "instructions":
        records = synthetic.constrained_prompts(split)
    elif prompts:
        records = synthetic.prompts(split, cast(synthetic.Name, name))
    else:
        records = synthetic.records(cast(synthetic.Name, name), split)
    return Stream(spec, f"synthetic:{name}", ((line, to_row(record)) for line, record in enumerate(records, start=1)))


def _of_scheme(spec: str) -> Stream:
    scheme = spec.partition("://")[0]
    # As with imports, what comes first on the path wins.
    offered = {point.name: point for point in reversed(entry_points(group="keel.sources"))}
    if scheme not in offered:
        raise SourceError(f"no installed package reads {scheme}://; there is {', '.join(offered) or 'none'}")
    return _of_rows(spec, offered[scheme].load()(spec))


def _of_rows(spec: str, rows: Iterator[Row]) -> Stream:
    """A stream of made rows; the first is made at once, so that errors of the spec are found."""
    try:
        first = next(rows, None)
    except ValueError as error:
        raise SourceError(f"{spec}: {error}") from error
    return Stream(spec, spec, enumerate(rows if first is None else chain([first], rows), start=1))


def _dataset(name: str, source: str, subset: str | None, split: str) -> Stream:
    """A data set through ``datasets``, streamed; ``subset`` is a configuration's name or else a data directory."""
    with needs("train"):
        import datasets

    spec = f"{source}:{split}"
    try:
        try:
            rows = datasets.load_dataset(name, subset, split=split, streaming=True)
        except ValueError:
            if subset is None:
                raise
            rows = datasets.load_dataset(name, data_dir=subset, split=split, streaming=True)
    except Exception as error:  # the library and the network below it raise whatever they like
        if Path(name).is_dir():
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            raise SourceError(
                f"{name} is a directory, and it could not be read as a data set; name its files, e.g. "
                f"'{Path(name) / '*.jsonl'}' ({reason})"
            ) from error
        where = "hub data set, and no file by that name is here"
        raise SourceError(f"{spec!r} was read as a {where}: {type(error).__name__}: {str(error)[:200]}") from error

    def numbered() -> Iterator[tuple[int, dict[str, Any]]]:
        line = 0
        try:
            for line, row in enumerate(rows, start=1):
                yield line, arrow_row(row)
        except Exception as error:
            raise SourceError(f"{spec}: reading stopped after row {line}: {str(error)[:200]}") from error

    return Stream(spec, source, numbered())
