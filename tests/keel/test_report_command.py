"""``keel report`` leaves what it reads as it is."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from keel.cli import app


def test_a_report_does_not_overwrite_what_a_run_has_written(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text("{}\n")
    for name in ("metrics.jsonl", "../" + tmp_path.name + "/metrics.jsonl"):
        refused = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(tmp_path / name)])
        assert (refused.exit_code, "is one of the inputs" in refused.output) == (2, True)
    assert log.read_text() == "{}\n"
