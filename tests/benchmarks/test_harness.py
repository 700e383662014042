"""Tests of the code that the benchmarks share."""

from __future__ import annotations

import argparse
import ast
import json
import time
from pathlib import Path

import pytest
from harness import cpu_seconds, environment, in_process, in_turn, median_ratio, parser, ratios, settings, timed, write
from http_client import free_port, listening

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WITHOUT_RESULT = {"pretrain_decoder", "serving_peer", "stand_in_judge"}  # they make a model, or serve
SCRIPTS = [f for f in sorted(BENCHMARKS.glob("*.py")) if "__main__" in f.read_text(encoding="utf-8")]


def test_ratios_are_of_neighbours_and_the_median_is_theirs() -> None:
    peer, ours = [2.0, 9.0, 4.0], [1.0, 3.0, 4.0]
    assert ratios(peer, ours) == [2.0, 3.0, 1.0]
    assert median_ratio(peer, ours) == 2.0
    with pytest.raises(ValueError, match="argument"):
        ratios(peer, ours[:2])


def test_ways_take_turns() -> None:
    calls: list[str] = []

    def way(name: str) -> int:
        calls.append(name)
        return len(calls)

    found = in_turn({"peer": lambda: way("peer"), "ours": lambda: way("ours")}, 2)
    assert calls == ["peer", "ours", "peer", "ours"]
    assert found == {"peer": [1, 3], "ours": [2, 4]}


def test_waiting_takes_wall_time_and_no_processor_time() -> None:
    times, result = timed(lambda: time.sleep(0.2) or "slept")
    assert result == "slept"
    assert times.wall >= 0.2
    assert times.cpu < 0.1


def test_settings_leave_out_what_belongs_to_one_machine() -> None:
    arguments = parser("doc", repeats=3, device=True).parse_args(["--out", "/tmp/x.json", "--threads", "2"])
    arguments.data, arguments.job, arguments.folder = "/somewhere/pairs.jsonl", None, Path("/f")
    expected = {"repeats": 3, "device": "cpu", "dtype": "fp32", "threads": 2, "seed": 0}
    assert settings(arguments, "job") == expected | {"data": "pairs.jsonl", "folder": "/f"}


def test_a_process_of_its_own_gives_its_result_or_its_error(tmp_path: Path) -> None:
    script = tmp_path / "double.py"
    script.write_text(
        "import argparse, json\n"
        "made = argparse.ArgumentParser()\n"
        "made.add_argument('--job'); made.add_argument('--out')\n"
        "given = made.parse_args()\n"
        "number = json.load(open(given.job))['number']\n"
        "assert number, 'no number'\n"
        "json.dump(2 * number, open(given.out, 'w'))\n"
    )
    assert in_process(str(script), {"number": 21}) == 42
    with pytest.raises(RuntimeError, match=r"double\.py failed with status 1:(.|\n)*no number"):
        in_process(str(script), {"number": 0})


def test_a_server_is_waited_for_and_its_processor_time_is_read() -> None:
    port = free_port()
    process = listening(["-m", "http.server", str(port), "--bind", "127.0.0.1"], port, {})
    try:
        assert cpu_seconds(process) > 0
    finally:
        process.terminate()
        process.wait(10)
    with pytest.raises(RuntimeError, match="No module named nothing"):
        listening(["-m", "nothing"], port, {})


def test_the_result_is_written_with_what_it_was_measured_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "result.json"
    write(out, {"ratio": 2.0, "runs": [1], "environment": environment(7, threads=2)}, ("ratio",))
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["environment"]["seed"] == 7
    assert {"commit", "versions", "device", "cpu", "threads", "load_average"} <= written["environment"].keys()
    assert json.loads(capsys.readouterr().out) == {"ratio": 2.0}


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda f: f.stem)
def test_a_script_is_only_what_it_measures(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    assert f"python benchmarks/{file.name}" in text or file.stem == "serving_peer"
    if file.stem in WITHOUT_RESULT:
        return
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert {"parser", "write", "environment"} <= names
    assert not {"ArgumentParser", "subprocess.getoutput"} & names
    assert "--out" in text.partition('"""')[2].partition('"""')[0], "the docstring says how to run it"


def test_a_script_without_a_place_for_its_result_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made: argparse.ArgumentParser = parser("doc")
    with pytest.raises(SystemExit):
        made.parse_args([])
    assert "--out" in capsys.readouterr().err
