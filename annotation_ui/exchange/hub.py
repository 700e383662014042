"""A project as a data set of the Hugging Face hub: written as a folder, pushed, and pulled into a database again.

The folder holds ``project.yaml`` (the definition), ``items.jsonl`` (what was asked about), ``labels/train.jsonl`` and
``labels/eval.jsonl`` (a snapshot, to train on), ``votes.parquet`` (every judgement) and a card. Names of people are
replaced by pseudonyms unless they are wanted; gold items are left out of ``items.jsonl``, since they check annotators.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_ui.exchange.exporting import ExportRule, export, find_snapshot, write_export
from annotation_ui.exchange.importing import Imported, NewProject, import_items
from annotation_ui.exchange.vote_files import write_votes
from annotation_ui.labelling.assignment import newest_guideline
from annotation_ui.store.database import Database
from annotation_ui.store.definitions import definition_of
from annotation_ui.store.forms import DefinitionError, read_definition
from annotation_ui.store.projects import ProjectError, Settings, find_project, has_project
from annotation_ui.store.tables import Item, Project
from reward_models.extras import needs

DEFINITION, ITEMS, VOTES, LABELS, CARD = "project.yaml", "items.jsonl", "votes.parquet", "labels", "README.md"
SLOTS = {"preference": ("response_a", "response_b"), "safety": ("response",)}
BATCH = 500  # items that are read at a time
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


class HubError(ProjectError):
    """The hub, or what is there, cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Written:
    """The counts of a folder: items, gold items left out, judgements, and rows to train on."""

    items: int
    gold: int
    judgements: int
    labels: int


def write_folder(
    database: Database, project_name: str | None, folder: Path, snapshot_name: str, *, names: bool = False
) -> Written:
    """Write a project into an empty folder.

    Args:
        snapshot_name: of the labels; votes are those of the same snapshot.
        names: keep the annotators' names.

    Raises:
        ProjectError: there is no such project or snapshot, or the folder is not empty.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with database.read() as session:
        project = find_project(session, project_name)
        find_snapshot(session, project, snapshot_name)
        definition = definition_of(project, newest_guideline(session, project)).to_yaml()
        (folder / DEFINITION).write_text(definition, encoding="utf-8")
        gold = 0
        count = 0
        with (folder / ITEMS).open("w", encoding="utf-8") as stream:
            for item in _items(session, project):
                if item.gold is not None:
                    gold += 1
                    continue
                stream.write(json.dumps(_row(project, item), ensure_ascii=False) + "\n")
                count += 1
        made = export(session, project, snapshot_name, ExportRule())
        name, kind = project.name, project.kind
    write_export(made, folder / LABELS, "jsonl")
    judgements = write_votes(
        database, name, folder / VOTES, "parquet", snapshot_name=snapshot_name, pseudonyms=not names
    )
    splits = [split for split, rows in made.rows.items() if rows]
    for split in set(made.rows) - set(splits):
        (folder / LABELS / f"{split}.jsonl").unlink()  # the hub's viewer refuses an empty file
    labels = sum(map(len, made.rows.values()))
    found = Written(count, gold, judgements, labels)
    (folder / CARD).write_text(_card(name, kind, made.snapshot, splits, found, names=names), encoding="utf-8")
    return found


def _items(session: Session, project: Project) -> Iterator[Item]:
    """Batch by batch: a cursor of the server would need a transaction, which reading does not begin."""
    last = 0
    wanted = select(Item).where(Item.project_id == project.id).order_by(Item.id).limit(BATCH)
    while found := session.scalars(wanted.where(Item.id > last)).all():
        yield from found
        last = found[-1].id


def _row(project: Project, item: Item) -> dict[str, Any]:
    """An item in the layout that ``keel annotate import`` reads."""
    row: dict[str, Any] = {"id": item.source_id or str(item.id), "source": item.source, "prompt": item.prompt}
    keys = SLOTS.get(project.kind)
    if keys is None:
        models = [response.model for response in item.responses]
        return row | {"responses": [response.messages for response in item.responses], "models": models}
    for key, response in zip(keys, item.responses, strict=True):
        row |= {key: response.messages, key.replace("response", "model"): response.model}
    return row


def _card(name: str, kind: str, snapshot: str, splits: list[str], found: Written, *, names: bool) -> str:
    configs: list[dict[str, Any]] = []
    if splits:
        paths = [{"split": "test" if split == "eval" else split, "path": f"{LABELS}/{split}.jsonl"} for split in splits]
        configs.append({"config_name": "labels", "data_files": paths})
    configs.append({"config_name": "items", "data_files": ITEMS})
    if found.judgements:
        configs.append({"config_name": "votes", "data_files": VOTES})
    header = [f"configs: {json.dumps(configs)}", f"tags: {json.dumps(['keel', kind])}"]
    people = "the annotators' names" if names else "pseudonyms in the place of the annotators' names"
    lines = [
        f"# {name}",
        "",
        f"Human judgements ({kind}), collected with Keel. Snapshot `{snapshot}`.",
        "",
        f"- `labels`: {found.labels} rows to train on",
        f"- `items`: {found.items} items as they were asked about; `project.yaml` says what was asked",
        f"- `votes`: {found.judgements} judgements, with {people}; written reasons are as people wrote them",
        "",
        "`keel annotate pull` reads items and definition into a new project.",
    ]
    return "\n".join(["---", *header, "---", *lines, ""])


def check_push(name: str, *, private: bool) -> bool:
    """Ask the hub, before anything is written, whether it knows the token; true if the data set is there already.

    Raises:
        HubError: no name of that form, not logged in, the hub refuses the token, or the data set is public and
            ``private`` is wanted.
    """
    _check_name(name)
    with needs("annotate"):
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    if get_token() is None:
        raise HubError("not logged in to the hub: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(library_name="keel")
    try:
        api.whoami()
    except (HfHubHTTPError, OSError) as error:
        said = str(error).splitlines()[0][:300]
        raise HubError(f"the hub does not accept the log-in ({said}): run `hf auth login`, or set HF_TOKEN") from error
    try:
        public = not api.dataset_info(name).private
    except RepositoryNotFoundError:
        return False
    except (HfHubHTTPError, OSError) as error:
        raise HubError(f"the hub refuses {name}: {error}") from error
    if private and public:
        raise HubError(f"{name} is public; add --public if everybody may see these judgements")
    return True


def push_folder(folder: Path, name: str, *, private: bool) -> str:
    """Upload a folder as a data set; returns the commit's address. A repository that exists keeps its visibility.

    Raises:
        HubError: as :func:`check_push`, or the hub refuses what is uploaded.
    """
    there = check_push(name, private=private)
    with needs("annotate"):
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(library_name="keel")
    try:
        if not there:
            api.create_repo(name, repo_type="dataset", private=private)
        commit = api.upload_folder(
            repo_id=name, repo_type="dataset", folder_path=folder, commit_message="Upload a project of Keel annotate"
        )
    except (HfHubHTTPError, OSError) as error:
        raise HubError(f"the hub refuses {name}: {error}") from error
    return str(commit.commit_url)


def check_folder(folder: Path) -> None:
    """Raise :class:`HubError` if a project cannot be written into ``folder`` because something is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HubError(f"{folder} is not empty; name a new directory")


def pull_project(
    database: Database,
    name: str,
    project_name: str,
    *,
    revision: str | None = None,
    author: str,
    now: float,
) -> Imported:
    """Items and definition of a data set that :func:`push_folder` made, into a project; votes stay at the hub.

    A new project has the usual settings.

    Args:
        name: on the hub, or a folder that :func:`write_folder` wrote.

    Raises:
        HubError: the hub does not answer, or there is no project in the data set.
        ProjectError: the project is there with another kind, or an item cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="keel-pull-") as work:
        folder = Path(name) if Path(name).is_dir() else _download(name, revision, Path(work))
        missing = [file for file in (DEFINITION, ITEMS) if not (folder / file).is_file()]
        if missing:
            raise HubError(
                f"{name} holds no {' and no '.join(missing)}: it is no project that `keel annotate push` wrote; read "
                f"its rows with `keel annotate import {name} --project {project_name} --kind KIND`"
            )
        try:
            definition = read_definition((folder / DEFINITION).read_text(encoding="utf-8"))
        except DefinitionError as error:
            raise HubError(f"{name}: {DEFINITION}: {error}") from error
        with database.read() as session:
            there = find_project(session, project_name) if has_project(session, project_name) else None
            if there is not None and there.kind != definition.kind:
                raise HubError(f"{project_name!r} is a {there.kind} project, {name} holds one of {definition.kind}")
        new = None
        if there is None:
            new = NewProject(kind=definition.kind, settings=Settings(), definition=definition)
        return import_items(database, project_name, [str(folder / ITEMS)], new=new, author=author, now=now)


def _download(name: str, revision: str | None, folder: Path) -> Path:
    _check_name(name)
    with needs("annotate"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            name, repo_type="dataset", revision=revision, local_dir=folder, allow_patterns=[DEFINITION, ITEMS]
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise HubError(f"{name} cannot be read from the hub: {str(error).splitlines()[0][:300]}") from error
    return Path(found)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise HubError(f"{name!r} is no directory here and no name on the hub; write owner/name")
