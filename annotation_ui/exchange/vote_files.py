"""Every judgement of a project in a file: JSON Lines, Parquet, or a directory for ``datasets.load_from_disk``."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Boolean, Float, Integer, String, cast, or_, select
from sqlalchemy.orm import Session

from annotation_ui.exchange.exporting import find_snapshot
from annotation_ui.exchange.votes import NAMES, columns, mappings, votes_of
from annotation_ui.store.database import Database
from annotation_ui.store.privacy import pseudonym_key
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.tables import Item, Judgement, Project, Response
from reward_models.data.records import MESSAGE_FIELDS
from reward_models.extras import needs

VoteFormat = Literal["jsonl", "parquet", "datasets"]
ROWS_AT_A_TIME = 1000


def vote_format(out: Path, chosen: VoteFormat | None = None) -> VoteFormat:
    """The format of ``out``: ``chosen``, or by its ending; without one it is a directory for ``datasets``.

    Raises:
        ProjectError: no format has this ending.
    """
    if chosen is not None:
        return chosen
    if out.suffix in (".jsonl", ".parquet"):
        return "jsonl" if out.suffix == ".jsonl" else "parquet"
    if out.suffix == "" or out.is_dir():
        return "datasets"
    raise ProjectError(
        f"{out.name}: votes are written to NAME.jsonl, NAME.parquet or a directory NAME without an ending; "
        "--votes-format says which format another name has"
    )


def write_votes(
    database: Database,
    project_name: str | None,
    out: Path,
    file_format: VoteFormat,
    *,
    snapshot_name: str | None = None,
    pseudonyms: bool = False,
) -> int:
    """Write every judgement of a project, or of a snapshot, to ``out``; returns their number.

    ``out`` appears when it is complete; an old one is replaced. The memory needed does not grow with the number.

    Raises:
        ProjectError: there is no such project or snapshot, or ``out`` is a directory with other things in it.
    """
    key = None
    if pseudonyms:
        with database.write() as session:
            key = pseudonym_key(session)
    if file_format == "datasets" and out.exists() and not (out / "dataset_info.json").is_file() and _filled(out):
        raise ProjectError(f"{out} is there already and holds no data set; name a new directory")
    out.parent.mkdir(parents=True, exist_ok=True)
    with database.read() as session, tempfile.TemporaryDirectory(dir=out.parent, prefix=".votes-") as work:
        project = find_project(session, project_name)
        snapshot_id = find_snapshot(session, project, snapshot_name).id if snapshot_name else None
        rows = votes_of(session, project, snapshot_id=snapshot_id, pseudonyms=key)
        made = Path(work) / "made"
        if file_format == "jsonl":
            count = _write_lines(rows, made)
        else:
            count = _write_parquet(rows, _schema(session, project), made)
        if file_format == "datasets":
            made = _data_set(made, Path(work))
        if out.is_dir():
            shutil.rmtree(out)
        made.replace(out)
    return count


def _filled(out: Path) -> bool:
    return not out.is_dir() or any(out.iterdir())


def _write_lines(rows: Iterator[dict[str, Any]], file: Path) -> int:
    count = 0
    with file.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(rows: Iterator[dict[str, Any]], schema: Any, file: Path) -> int:
    import pyarrow
    from pyarrow import parquet

    count = 0
    texts = {field.name for field in schema if (field.metadata or {}).get(b"holds") == b"json"}
    with parquet.ParquetWriter(file, schema) as writer:
        waiting: list[dict[str, Any]] = []

        def write() -> None:
            writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
            waiting.clear()

        for row in rows:
            waiting.append({name: _cell(value, name in texts) for name, value in row.items()})
            count += 1
            if len(waiting) == ROWS_AT_A_TIME:
                write()
        if waiting:
            write()
    return count


def _cell(value: Any, as_json: bool) -> Any:
    if as_json:
        return None if value is None else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        return [_message(part) for part in value]
    return value


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose further fields, such as tool calls, are one column of JSON text."""
    extra = {name: value for name, value in message.items() if name not in ("role", "content")}
    return {**message, "extra": json.dumps(extra, ensure_ascii=False) if extra else None}


def _has_extra(session: Session, project: Project) -> bool:
    """True if a message of the project has fields besides its role and content."""

    def named(column: Any) -> Any:
        return or_(*(cast(column, String).like(f'%"{name}":%') for name in MESSAGE_FIELDS))

    of_project = Item.project_id == project.id
    prompts = select(Item.id).where(of_project, named(Item.prompt))
    responses = select(Response.id).join(Item, Item.id == Response.item_id).where(of_project, named(Response.messages))
    return any(session.scalar(wanted.limit(1)) is not None for wanted in (prompts, responses))


def _data_set(file: Path, work: Path) -> Path:
    with needs("train"):
        from datasets import Dataset
        from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    made = work / "data"
    Dataset.from_parquet(str(file), cache_dir=str(work / "cache"), keep_in_memory=False).save_to_disk(str(made))
    return made


def _schema(session: Session, project: Project) -> Any:
    """The columns of :func:`~annotation_ui.exchange.votes.votes_of`, with their types.

    The keys of mappings have no type of their own in the database; they are columns of JSON text.
    """
    import pyarrow as pa

    parts = [("role", pa.string()), ("content", pa.string())]
    messages = pa.list_(pa.struct(parts + ([("extra", pa.string())] if _has_extra(session, project) else [])))
    fields = {name: pa.int64() for name in ("judgement", "item")}
    fields |= {name: pa.string() for name in ("id", "source", "split")} | {"prompt": messages}
    of_project = select(Response.slot).join(Item, Item.id == Response.item_id).where(Item.project_id == project.id)
    slots = sorted(session.scalars(of_project.distinct()))
    fields |= {"response": messages} | {f"response_{slot}": messages for slot in slots if slots != ["a"]}
    fields |= {name: pa.string() for name in ("annotator", "choice", "side")}
    types = {Boolean: pa.bool_(), Integer: pa.int64(), Float: pa.float64(), String: pa.string()}
    as_json = []
    for name in columns():
        column = Judgement.__mapper__.columns[name]
        known = next((made for kind, made in types.items() if isinstance(column.type, kind)), None)
        if name in mappings():
            as_json += [key for key in _keys(session, project, name) if key not in fields]
        elif known is not None:
            fields[NAMES.get(name, name)] = known
        elif str(Judgement.__annotations__[name]) == "Mapped[list[str]]":
            fields[NAMES.get(name, name)] = pa.list_(pa.string())
        else:
            as_json.append(NAMES.get(name, name))
    fields |= {"guideline_version": pa.int64(), "gold": pa.string()}
    fields |= {name: pa.bool_() for name in ("repeat", "scores_shown", "training", "in_force")}
    as_json.append("known_answer")
    json_fields = [pa.field(name, pa.string(), metadata={"holds": "json"}) for name in dict.fromkeys(as_json)]
    return pa.schema([pa.field(name, made) for name, made in fields.items()] + json_fields)


def _keys(session: Session, project: Project, name: str) -> list[str]:
    """The keys of the mappings in a column, of all judgements of the project."""
    column = Judgement.__mapper__.columns[name]
    wanted = (
        select(Judgement.id, column)
        .join(Item, Item.id == Judgement.item_id)
        .where(Item.project_id == project.id, column.is_not(None))
        .order_by(Judgement.id)
        .limit(ROWS_AT_A_TIME)
    )
    keys: dict[str, None] = {}
    last = 0
    while found := session.execute(wanted.where(Judgement.id > last)).all():
        for number, value in found:
            keys.update(dict.fromkeys(value))
            last = number
    return list(keys)
