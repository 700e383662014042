"""Projects as YAML: what is written is read back, what makes no sense is named."""

from __future__ import annotations

import re

import pytest
from annotating import NOW
from kinds import PLAIN, fill_kind, rate

from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.assignment import newest_guideline
from annotation_ui.store.database import Database
from annotation_ui.store.definitions import define, definition_of
from annotation_ui.store.forms import KINDS, RESPONSES, DefinitionError, Form, default_definition, read_definition
from annotation_ui.store.projects import ProjectError, create_project, find_project
from reward_models.data.records import ATTRIBUTES


@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_of_every_kind_is_read_back(kind: str) -> None:
    definition = default_definition(kind)  # type: ignore[arg-type]
    assert definition.kind == kind
    assert definition.guideline.count("\n") > 3
    assert read_definition(definition.to_yaml()) == definition
    assert read_definition(f"kind: {kind}") == definition
    if kind != "rewrite":
        marked = read_definition(f"kind: {kind}\nspans: [error, unsafe]")
        assert marked.form.spans == ("error", "unsafe")
        assert read_definition(marked.to_yaml()) == marked
        assert Form.from_dict(marked.form.to_dict()) == marked.form
    assert RESPONSES[definition.kind][0] <= RESPONSES[definition.kind][1]


def test_the_default_attributes_are_those_that_heads_are_trained_on() -> None:
    form = default_definition("attributes").form
    assert tuple(form.attributes or {}) == ATTRIBUTES
    assert form.scale == (0, 4)


def test_what_a_file_leaves_out_is_the_default() -> None:
    read = read_definition("kind: attributes\nattributes: {tone: How it sounds, care: }\nscale: [1, 5]\n")
    assert read.form == Form(
        instructions=default_definition("attributes").form.instructions,
        attributes={"tone": "How it sounds", "care": ""},
        scale=(1, 5),
    )
    assert read_definition("kind: attributes\nattributes: [tone, care]\n").form.attributes == {"tone": "", "care": ""}
    assert Form.from_dict(read.form.to_dict()) == read.form


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2", "no YAML"),
        ("- kind", "not a mapping"),
        ("guideline: x", "kind"),
        ("kind: poems", "none of preference"),
        ("kind: safety\nscale: [0, 4]", "no key 'scale'"),
        ("kind: safety\nharms: []", "harms"),
        ("kind: safety\nharms: [a, a]", "twice"),
        ("kind: safety\nguideline: ''", "guideline"),
        ("kind: ranking\nties: maybe", "ties"),
        ("kind: safety\nspans: [a, a]", "spans has a name twice"),
        ("kind: rewrite\nspans: [a]", "no key 'spans'"),
        ("kind: attributes\ncomparison: 1", "comparison"),
        ("kind: ranking\ninstructions: |\n  a\n  b", "one line"),
        ("kind: attributes\nscale: [0, 10]", "scale"),
        ("kind: attributes\nscale: [4, 0]", "scale"),
        ("kind: attributes\nattributes: {}", "attributes"),
        ("kind: attributes\nattributes: [a, a]", "attributes"),
        ("kind: attributes\nattributes: {a b: x}", "letters"),
        ("kind: attributes\nattributes: {prompt: x}", "another column"),
        ("kind: !!python/object/apply:os.system [true]", "no YAML"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        read_definition(text)


def test_a_definition_of_another_kind_is_refused(sqlite: Database) -> None:
    with pytest.raises(DefinitionError, match="of kind ranking"):
        read_definition("kind: ranking", kind="attributes")
    with sqlite.write() as session:
        project = create_project(session, "p", "safety", PLAIN, author="root", now=NOW)
        with pytest.raises(ProjectError, match="safety project"):
            define(session, project, default_definition("ranking"), author="root", now=NOW)


def test_a_new_definition_is_a_version_and_leaves_votes_alone(database: Database) -> None:
    fill_kind(database, "attributes", items=2, responses=1)
    before = annotating.next_task(database, "ann", "p", now=NOW)
    assert before is not None
    new = read_definition("kind: attributes\nattributes: [tone]\nscale: [1, 3]\n")
    with database.write() as session:
        define(session, find_project(session, "p"), new, author="root", now=NOW)
    with database.read() as session:
        project = find_project(session, "p")
        assert definition_of(project, newest_guideline(session, project)) == new
    given = dict.fromkeys(ATTRIBUTES, 4)  # on the form that is on screen
    annotating.vote(database, "ann", "p", before.token, {"label": "rated", "ratings": [given]}, now=NOW)
    after = annotating.next_task(database, "ann", "p", now=NOW)
    assert after is not None
    assert (after.guideline_version, tuple(after.form.attributes or {}), after.form.scale) == (2, ("tone",), (1, 3))
    annotating.vote(database, "ann", "p", after.token, {"label": "rated", "ratings": [{"tone": 3}]}, now=NOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: safety\nharms: [a]\nharms: [b]", "key 'harms' twice"),
        ("kind: attributes\nattributes: {tone: x, tone: y}", "key 'tone' twice"),
        ("kind: attributes\nattributes: [tone, no]", "a name in attributes"),
        ("kind: attributes\nattributes: [tone, tone]", "twice: 'tone'"),
        ("kind: attributes\nattributes: {label: x}", "another column"),
        ("kind: attributes\ninstructions: 2001-99-99", "no YAML"),
        (f"kind: attributes\nscale: [{'1' * 5000}, 2]", "no YAML"),
        ("kind: !!int x", "no YAML"),
        ("kind: !!python/object/apply:os.system [x]", "no YAML"),
        ("[" * 5000, "no YAML"),
        ("a: &a [x]\nkind: *a", "another part of itself"),
    ],
)
def test_yaml_that_misleads_or_exhausts_is_refused(text: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(says)):
        read_definition(text)


def test_a_text_of_references_fills_no_memory() -> None:
    """Each line holds the one before nine times: 9^12 words."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 13)]
    merged = ["m0: &m0 {x: 1}"] + [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 13)]
    for text in ("\n".join([*lines, "kind: *a12"]), "\n".join([*merged, "kind: *m12"])):
        with pytest.raises(DefinitionError, match="another part of itself"):
            read_definition(text)


def test_a_guideline_that_a_database_does_not_store_is_refused(sqlite: Database) -> None:
    fill_kind(sqlite, "safety", items=0)
    for text in ('kind: safety\nguideline: "a\\0b"', 'kind: safety\nguideline: "a\\ud800b"'):
        with sqlite.write() as session, pytest.raises(ProjectError, match="do not store"):
            define(session, find_project(session, "p"), read_definition(text), author="root", now=NOW)


def test_the_scale_stays_once_there_are_ratings(database: Database) -> None:
    """A mean over ratings from 0 to 4 and others from 1 to 9 would be of neither scale."""
    fill_kind(database, "attributes", items=2, responses=1)
    other = read_definition("kind: attributes\nscale: [1, 9]")
    with database.write() as session:
        define(session, find_project(session, "p"), other, author="root", now=NOW)
        define(session, find_project(session, "p"), default_definition("attributes"), author="root", now=NOW)
    rate(database, "ann", {"a": [4, 3, 2, 1, 0]})
    with database.write() as session:
        project = find_project(session, "p")
        with pytest.raises(ProjectError, match="scale 0 to 4"):
            define(session, project, other, author="root", now=NOW)
        more = read_definition("kind: attributes\nattributes: [tone]\nscale: [0, 4]")
        assert define(session, project, more, author="root", now=NOW).version == 4
