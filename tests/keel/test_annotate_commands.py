"""``keel annotate`` from the command line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from keel.cli import app
from keel.commands.annotate import _single_sign_on


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_PASSWORD", "correct horse")


def run(db: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["annotate", *map(str, arguments), "--db", str(db)])


def test_import_and_export(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    rows = tmp_path / "rows.jsonl"
    votes = [{"annotator": name, "label": "b slightly better"} for name in ("x", "y")]
    pair = {"prompt": "q", "response_a": "one", "response_b": "two", "annotations": votes, "source": "s"}
    rows.write_text(json.dumps(pair) + "\n{broken\n")
    assert "--kind" in run(db, "import", rows, "--project", "p").output
    bad = run(db, "import", rows, "--project", "p", "--kind", "preference")
    assert bad.exit_code == 1
    assert "rows.jsonl:2:" in bad.output
    assert "--max-bad 1." in bad.output
    assert "there is no project 'p' yet" in run(db, "import", rows, "--project", "p", "--max-bad", 1).output
    done = run(db, "import", rows, "--project", "p", "--kind", "preference", "--max-bad", 1)
    assert done.exit_code == 0, done.output
    assert "1 items added" in done.output
    assert "2 votes by 2 people" in done.output
    wrong = run(db, "import", rows, "--project", "p", "--kind", "safety")
    assert (wrong.exit_code, "preference project" in wrong.output) == (2, True)
    (tmp_path / "g.md").write_text("Be fair.")
    assert "guideline version 2 of p" in run(db, "guideline", tmp_path / "g.md").output
    out = run(db, "export", tmp_path / "out")
    assert out.exit_code == 0, out.output
    assert "1 items exported" in out.output
    written = [json.loads(line) for f in ("train", "eval") for line in (tmp_path / "out" / f"{f}.jsonl").open()]
    assert [(row["chosen"][0]["content"], row["margin"], row["snapshot"]) for row in written] == [("two", 1.0, "p@s1")]
    assert "already" not in run(db, "export", tmp_path / "again", "--snapshot", "s1").output


def test_a_project_is_shown_changed_and_made_from_a_file(tmp_path: Path) -> None:
    db, rows, file = tmp_path / "a.db", tmp_path / "rows.jsonl", tmp_path / "p.yaml"
    rows.write_text(json.dumps({"prompt": "q", "responses": ["one", "two", "three"]}) + "\n")
    assert "1 items added" in run(db, "import", rows, "--project", "p", "--kind", "attributes").output
    shown = run(db, "project", "--project", "p").output
    assert "kind: attributes" in shown
    assert "helpfulness:" in shown
    file.write_text(shown.replace("helpfulness:", "tone:"))
    assert "version 2 of p" in run(db, "project", file, "--project", "p").output
    changed = run(db, "project", "--project", "p").output
    assert "tone:" in changed
    assert run(db, "import", rows, "--project", "q", "--definition", file).exit_code == 0
    assert run(db, "project", "--project", "q").output == changed
    for words, says in (
        (("--project", "q", "--definition", file), "is there already"),
        (("--project", "r", "--definition", file, "--kind", "ranking"), "of kind attributes"),
        (("--project", "r"), "--kind preference|safety|ranking|attributes|rewrite"),
        (("--project", "r", "--kind", "rewrite", "--gold"), "no known answers"),
    ):
        failed = run(db, "import", rows, *words)
        assert failed.exit_code == 2
        assert says in " ".join(failed.output.split())
    unknown = run(db, "import", rows, "--project", "r", "--kind", "ranking", "--gold")
    assert "has no ranks to be the known answer" in " ".join(unknown.output.split())


def test_an_export_does_not_overwrite_the_database(tmp_path: Path) -> None:
    db, rows = tmp_path / "train.jsonl", tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "q", "response_a": "one", "response_b": "two"}) + "\n")
    assert run(db, "import", rows, "--project", "p", "--kind", "preference").exit_code == 0
    for words in (("export", "--votes", db), ("export", tmp_path), ("items", db)):
        refused = run(db, *words)
        assert (refused.exit_code, "is one of the inputs" in refused.output) == (2, True)
    assert "votes_per_item" in run(db, "settings").output


def test_rows_that_cannot_be_read_are_named_in_every_format(tmp_path: Path) -> None:
    """Comma-separated and Parquet files with the same faults: each row by its place and what is wrong with it."""
    db = tmp_path / "a.db"
    columns = ("prompt", "response_a", "response_b", "label")
    rows = [("q", "one", "two", "a"), ("q", "", "two", "b"), ("q", "s", "s", "tie"), ("q", "g", "h", "zebra")]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows, ("too", "few"), ("one", "cell", "too", "many", "here")])
    pq.write_table(
        pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows]), tmp_path / "rows.parquet"
    )
    for name, words in (("rows.csv", {5: "fewer cells", 6: "more cells"}), ("rows.parquet", {})):
        done = run(db, "import", tmp_path / name, "--project", "p", "--kind", "preference", "--max-bad", 9)
        assert done.exit_code == 0, done.output
        for line, reason in ({2: "response_a", 3: "identical", 4: "zebra"} | words).items():
            assert re.search(rf"{name}:{line}: .*{reason}", done.output), done.output
        assert f"{3 + len(words)} bad rows left out" in done.output
    assert "0 items added, 1 were there" in done.output
    again = run(db, "import", tmp_path / "rows.parquet", "--project", "p", "--max-bad", 9, "--gold")
    assert "1 items that came with a known answer were there without one: they stay ordinary items" in again.output
    (tmp_path / "semicolons.csv").write_text("prompt;response_a;response_b\nq;one;two\n")
    wrong = run(db, "import", tmp_path / "semicolons.csv", "--project", "p")
    assert "semicolons" in wrong.output
    assert "save the file again with commas" in wrong.output


def test_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = tmp_path / "a.db"
    assert "may log in as admin" in run(db, "user", "add", "root", "--role", "admin").output
    again = run(db, "user", "add", "root")
    assert (again.exit_code, "already" in again.output) == (2, True)
    assert "new password" in run(db, "user", "password", "root").output
    assert "locked out" in run(db, "user", "disable", "root").output
    assert "no user" in run(db, "user", "disable", "nobody").output
    assert "may log in again" in run(db, "user", "enable", "root").output
    run(db, "user", "add", "ann")
    assert "ann is reviewer now" in run(db, "user", "role", "ann", "reviewer").output
    listed = [line.split("\t") for line in run(db, "user", "list").output.splitlines()]
    state = ["may log in", "0 judgements"]
    assert listed == [["ann", "reviewer", *state], ["root", "admin", *state]]
    assert "ann is person-2 now" in run(db, "user", "forget", "ann", "--yes").output
    assert "person-2\treviewer\tdisabled" in run(db, "user", "list").output
    assert run(db, "user", "forget", "root").exit_code == 1  # nobody said yes
    monkeypatch.setenv("KEEL_PASSWORD", "short")
    assert "at least 10" in run(db, "user", "add", "cyd").output


def test_no_listening_beyond_this_machine_without_accounts(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["annotate", "--db", str(tmp_path / "a.db"), "--host", "0.0.0.0"])
    assert refused.exit_code == 2
    assert "user add" in refused.output
    assert "TLS" in refused.output


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KEEL_METRICS_TOKEN", "short", "KEEL_METRICS_TOKEN has 5 characters"),
        ("KEEL_LOG_FORMAT", "xml", "KEEL_LOG_FORMAT is text or json"),
        ("KEEL_OIDC_CLIENT_ID", "keel", "KEEL_OIDC_ISSUER is missing"),
    ],
)
def test_settings_are_checked_before_the_app_is_said_to_be_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    refused = CliRunner().invoke(app, ["annotate", "--db", str(tmp_path / "a.db")])
    assert (refused.exit_code, says in refused.output) == (2, True), refused.output
    assert "Keel annotate on" not in refused.output


def test_a_provider_that_does_not_answer_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("authlib", reason="pip install 'keel-align[oidc]'")
    monkeypatch.setenv("KEEL_OIDC_ISSUER", "http://127.0.0.1:9")
    monkeypatch.setenv("KEEL_OIDC_CLIENT_ID", "keel")
    monkeypatch.setenv("KEEL_OIDC_ROLES", "all=annotator")
    found = _single_sign_on("127.0.0.1", 7860)
    assert found is not None
    assert found.redirect.startswith("http://127.0.0.1:7860/")
    said = capsys.readouterr().err
    assert "cannot be used now (http://127.0.0.1:9/.well-known/openid-configuration: ConnectError)" in said


def test_migrate(tmp_path: Path) -> None:
    assert "up to date" in run(tmp_path / "a.db", "migrate").output
    missing = run(tmp_path / "no" / "a.db", "migrate")
    assert (missing.exit_code, "no directory" in missing.output) == (2, True)


@pytest.mark.parametrize("words", [["--db", "mine.db"], ["--runs", "here"], ["--reward-model", "model"]])
def test_a_demo_refuses_what_it_would_not_use(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["annotate", "--demo", *words])
    assert done.exit_code == 2
    assert f"leave out {words[0]}" in " ".join(done.stderr.replace("│", "").split())


def test_tokens_webhooks_members_and_archiving(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    run(db, "user", "add", "root", "--role", "admin")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "response_a": "one", "response_b": "two"}\n')
    run(db, "import", tmp_path / "rows.jsonl", "--project", "p", "--kind", "preference")
    secret = run(db, "token", "create", "root", "--scope", "read", "--scope", "export", "--days", 2).output.strip()
    assert secret.startswith("keel_")
    assert run(db, "token", "list").output.split("\t")[:5] == ["1", "root", "command line", "read,export", "holds"]
    assert secret not in run(db, "token", "list").output
    assert "at most 366" in run(db, "token", "create", "root", "--scope", "read", "--days", 999).output
    assert "revoked" in run(db, "token", "revoke", 1).output
    assert "revoked" in run(db, "token", "list", "--user", "root").output
    added = run(db, "webhook", "add", "https://example.org/hook", "--event", "judged", "--project", "p")
    assert added.output.startswith("webhook 1\n")
    assert "judged\tnothing sent yet" in run(db, "webhook", "list").output
    assert "warning" not in added.output
    private = run(db, "webhook", "add", "http://127.0.0.1:9/", "--event", "judged")
    assert private.exit_code == 0
    assert "only an app that was started with --private-webhooks sends to it" in private.output
    assert "events are among" in run(db, "webhook", "add", "https://example.org/", "--event", "x").output
    assert "is removed" in run(db, "webhook", "remove", 1).output
    assert "no webhook 1" in run(db, "webhook", "remove", 1).output
    assert "until" in run(db, "member", "add", "root", "--project", "p").output
    assert "members only" in run(db, "member", "only").output
    assert run(db, "member", "list").output == "p: for members only\nroot\n"
    assert "no member" in run(db, "member", "remove", "root").output
    assert "every account" in run(db, "member", "only", "--everybody").output
    assert "archived" in run(db, "archive").output
    assert "votes again" in run(db, "restore").output
    assert "0 items" in run(db, "release").output
    assert "no user" in run(db, "release", "--annotator", "nobody").output


def test_a_copy_is_made_and_read_back(tmp_path: Path) -> None:
    db, copy, new = tmp_path / "a.db", tmp_path / "copy.db", tmp_path / "new.db"
    run(db, "user", "add", "root", "--role", "admin")
    assert "holds 0 judgements" in run(db, "backup", copy).output
    assert "there already" in run(db, "backup", copy).output
    assert "holds 0 judgements" in run(new, "restore-backup", copy).output
    assert run(new, "user", "list").output == run(db, "user", "list").output
    assert "there already" in run(db, "restore-backup", copy).output
    (tmp_path / "text.db").write_text("no database")
    assert "cannot be copied" in run(tmp_path / "x.db", "restore-backup", tmp_path / "text.db").output
    assert "no file" in run(tmp_path / "x.db", "restore-backup", tmp_path / "none.db").output
    damaged = bytearray(copy.read_bytes())
    damaged[4096 * 3 : 4096 * 6] = b"x" * (4096 * 3)
    (tmp_path / "damaged.db").write_bytes(bytes(damaged))
    assert run(tmp_path / "x.db", "restore-backup", tmp_path / "damaged.db").exit_code == 2
    assert sorted(path.name for path in tmp_path.glob(".*")) == []
    assert not (tmp_path / "x.db").exists()


def test_the_training_round_and_the_forecast(tmp_path: Path) -> None:
    db, rows = tmp_path / "a.db", tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "q", "responses": ["one", "two"], "ranks": [1, 2]}) + "\n")
    made = ("--project", "p", "--kind", "ranking", "--training", "3", "--pause-below", "0.7", "--hourly-rate", "20")
    assert run(db, "import", rows, "--gold", *made).exit_code == 0
    shown = run(db, "settings").output
    assert "training_items: 3" in shown
    few = "warning: the training round has 3 items, but the project has a known answer for 1 only"
    assert few in shown
    again = run(db, "import", rows, "--gold", "--project", "p")
    assert "ordinary items" not in again.output  # it is a gold item, and stays one
    assert few in run(db, "settings", "--gold-rate", "0").output
    assert "no known answer is left for checks" not in run(db, "settings").output
    enough = run(db, "settings", "--training", "1").output
    assert "warning" not in enough
    none_left = "warning: no known answer is left for checks: the project has 1, the training round takes 1, so the"
    assert f"{none_left} share of gold items, 0.1, has no effect" in run(db, "settings", "--gold-rate", "0.1").output
    assert "warning" not in run(db, "settings", "--training", "0").output
    run(db, "settings", "--training", "3")
    assert "pause_below: 0.7" in shown
    assert "hourly_rate: 12.5" in run(db, "settings", "--hourly-rate", "12.5").output
    rows.write_text(json.dumps({"prompt": "r", "responses": ["one", "two"]}) + "\n")
    assert run(db, "import", rows, "--project", "p").exit_code == 0
    told = json.loads(run(db, "progress", "--project", "p").output)
    assert (told["items"], told["votes"], told["forecast"]["votes"], told["forecast"]["end"]) == (1, 0, 1, None)
    refused = run(db, "resume", "nobody", "--project", "p")
    assert (refused.exit_code, "there is no user 'nobody'" in refused.output) == (2, True)
