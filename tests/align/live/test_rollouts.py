"""Rollouts by a real vLLM on this machine's CPU, and deaths of either side."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dies_sending
import httpx2
import numpy as np
import pytest
import torch
import training_runs
from live_vllm import POLICY, Launcher, LiveServer
from rollout_laws import RolloutLaws, adapted, assert_sampled_by, change_adapters, moved, sample, save_base
from stand_in_vllm import free_port
from training_runs import PARTITION_ALL, metrics

from align.training.rollout import Rollout

pytestmark = pytest.mark.live

LORA = ("--enable-lora", "--max-lora-rank", "8", "--max-loras", "1")


def assert_equal_samples(first: Rollout, second: Rollout) -> None:
    """Equal tokens up to one, where a rounding has changed the draw, and equal log-probabilities that far."""
    same = 0
    for (ids, logprobs), (others, theirs) in zip(first.responses(), second.responses(), strict=True):
        count = min(len(ids), len(others))
        differ = np.flatnonzero(ids[:count] != others[:count])
        equal = int(differ[0]) if len(differ) else count
        same += len(ids) == len(others) == equal
        assert logprobs[:equal] == pytest.approx(theirs[:equal], abs=1e-4)
    assert same >= 0.8 * len(first.length_N)


def assert_whole(lines: list[dict[str, Any]], steps: int) -> None:
    """Every step once, learnt from responses of the run's own policy."""
    assert [line["step"] for line in lines] == list(range(1, steps + 1))
    assert max(line["mismatch_max"] for line in lines) < 1e-4
    assert all(line["grad_norm"] > 0 for line in lines)


@pytest.fixture(scope="module")
def trainer() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def server(vllm: Launcher, base: Path) -> Iterator[LiveServer]:
    started = vllm.start(base, *POLICY)
    yield started.wait_until_up()
    started.kill()


@pytest.fixture(scope="module")
def run(server: LiveServer, base: Path) -> Any:
    """Starts ``keel train align`` over the server."""
    settings = (
        *(f"model.path={base}", "prompts.train=['synthetic:reasoning:train']", "prompts.limit=20"),
        *("rewards=[{term: 'letters:Letters'}]", "evaluation.data=[]", "prompts_per_step=2", "samples_per_prompt=4"),
        *("steps_per_rollout=1", "max_new_tokens=10", "max_tokens=120", "engine.dtype=fp32", "engine.lr=3e-3"),
        *("loggers=[]", "timeout_seconds=600", "save_every=1", "rollout.engine=vllm"),
        *(f"rollout.urls=[{server.url}]", f"rollout.vllm_group_port={free_port()}"),
    )
    return partial(training_runs.start, settings=settings, program="align.train")


def requests_running(server: LiveServer) -> float:
    """Requests that the server works on."""
    found = re.findall(r"^vllm:num_requests_running\{[^}]*\} (\S+)$", httpx2.get(f"{server.url}/metrics").text, re.M)
    return float(found[0]) if found else 0.0


class TestOnACpu(RolloutLaws):
    def test_a_client_that_was_killed_in_an_update_leaves_a_server_that_the_next_one_mends(
        self, connect: Any, server: LiveServer, base: Path, tmp_path: Path
    ) -> None:
        words = (f"model={base}", f"url={server.url}", f"port={free_port()}")
        training_runs.start(tmp_path / "dies", *words, settings=(), program="dies_in_update").finish(-9)
        model = moved(base, 9)
        engine = connect(model)
        engine.sync_weights(0)
        assert_sampled_by(model, sample(engine))

    def test_adapters_that_are_sent_as_such_sample_what_merged_ones_do(
        self, connect: Any, run: Any, vllm: Launcher, base: Path, tmp_path: Path
    ) -> None:
        other = vllm.start(base, *POLICY, *LORA).wait_until_up()
        try:
            model = adapted(moved(base), 1)
            merged = connect(model)
            sent = connect(model, urls=[other.url], adapters=tmp_path / "adapters")
            for step in range(3):  # the frozen weights go once, and differ from those the server began with
                change_adapters(model, step)
                for engine in (merged, sent):
                    engine.sync_weights(step)
                rollout = sample(sent)
                assert_sampled_by(model, rollout)
                assert_equal_samples(rollout, sample(merged))
            words = (f"rollout.urls=[{other.url}]", "model.lora={r: 4}", "rollout.adapters=sent", "steps=3")
            run(tmp_path / "run", *words).finish()
        finally:
            other.kill()
        lines = metrics(tmp_path / "run")[-3:]
        assert max(line["mismatch_max"] for line in lines) < 1e-4
        assert all(line["grad_norm"] > 0 for line in lines)

    @pytest.mark.parametrize(
        ("ranks", "words"), [(1, ("model.lora={r: 4}",)), (2, ("engine.zero_stage=3", PARTITION_ALL))]
    )
    def test_a_run_trains_on_what_its_own_policy_samples(
        self, ranks: int, words: Any, run: Any, tmp_path: Path
    ) -> None:
        run(tmp_path / "run", *words, "steps=3", ranks=ranks).finish()
        lines = metrics(tmp_path / "run")[-3:]
        assert max(line["mismatch_max"] for line in lines) < 1e-4
        assert all(line["grad_norm"] > 0 for line in lines)

    def test_one_of_two_servers_is_killed_in_the_middle_of_a_rollout_and_comes_back(
        self, run: Any, vllm: Launcher, server: LiveServer, base: Path, tmp_path: Path
    ) -> None:
        other = vllm.start(base, *POLICY).wait_until_up()
        try:
            words = ("steps=3000", "steps_per_rollout=3", "save_every=3000", "rollout.overlap=true", "loss.beta=0")
            urls = (f"rollout.urls=['{server.url}', '{other.url}']", f"rollout.vllm_group_port={free_port(2)}")
            going = run(tmp_path / "run", *words, *urls, "max_new_tokens=60", "max_tokens=400")
            file = tmp_path / "run" / "metrics.jsonl"
            going.wait_for(lambda: file.is_file() and len(file.read_text().splitlines()) >= 3)
            going.wait_for(lambda: requests_running(other) > 0)
            other.kill()
            going.wait_for(lambda: f"{other.url} is lost" in going.log.read_text())
            other.start()
            going.wait_for(lambda: f"{other.url} is back" in going.log.read_text(), 300)
            lines = len(metrics(tmp_path / "run"))
            going.wait_for(lambda: len(metrics(tmp_path / "run")) > lines + 6)
            going.ranks[0].send(signal.SIGTERM)
            going.finish()
        finally:
            other.kill()
        found = metrics(tmp_path / "run")
        assert max(line["mismatch_max"] for line in found) < 1e-4  # by its own policy, whichever server answered
        assert sum(line.get("engine/prompts_moved", 0) for line in found) > 0
        assert {line["engine/servers"] for line in found if "engine/servers" in line} == {1, 2}

    def test_a_trainer_that_was_killed_inside_a_weight_update_goes_on_from_its_checkpoint(
        self, run: Any, tmp_path: Path
    ) -> None:
        run(tmp_path / "run", "steps=4", program="dies_sending", environment={dies_sending.STEP: "2"}).finish(-9)
        assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 2]
        said = run(tmp_path / "run", "steps=4").finish()
        assert "going on from" in said
        assert_whole(metrics(tmp_path / "run"), 4)

    def test_trainer_and_server_are_killed_at_once_in_the_middle_of_a_rollout(
        self, run: Any, vllm: Launcher, base: Path, tmp_path: Path
    ) -> None:
        other = vllm.start(base, *POLICY).wait_until_up()
        words = ("steps=12", f"rollout.urls=[{other.url}]", "max_new_tokens=60", "max_tokens=400")
        file = tmp_path / "run" / "metrics.jsonl"
        try:
            going = run(tmp_path / "run", *words)
            going.wait_for(lambda: file.is_file() and len(file.read_text().splitlines()) >= 3)
            going.wait_for(lambda: requests_running(other) > 0)
            going.kill()
            other.kill()
            other.start()
            other.wait_until_up()
            said = run(tmp_path / "run", *words).finish()
        finally:
            other.kill()
        assert "going on from" in said
        assert_whole(metrics(tmp_path / "run"), 12)

    def test_a_server_that_is_restarted(
        self, connect: Any, run: Any, server: LiveServer, base: Path, tmp_path: Path
    ) -> None:
        """While a client trains, it goes on; a run that meets no server ends, and goes on by the same command."""
        model = moved(base, 3)
        engine = connect(model)
        engine.sync_weights(0)
        server.kill()
        dead = run(tmp_path / "run", "steps=2", "rollout.vllm_start_seconds=0.5").finish(1)
        assert "not up after 0.5 s" in dead
        assert "Traceback" not in dead
        server.start()
        engine.sync_weights(0)  # waits for the server
        assert_sampled_by(model, sample(engine))
        run(tmp_path / "run", "steps=2", "rollout.vllm_start_seconds=600").finish()
        assert max(line["mismatch_max"] for line in metrics(tmp_path / "run")) < 1e-4
