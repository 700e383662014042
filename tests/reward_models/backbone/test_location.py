"""Local paths of models, and names on the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from reward_models.backbone.config import ModelConfig
from reward_models.backbone.location import lacks_directory, reading_from_hub
from reward_models.backbone.pretrained import resolve


@pytest.mark.parametrize(
    ("path", "lacks"),
    [
        *((name, True) for name in ("runs/model", "./model", "/no/model", "~/no_such_model", "a/b/c")),
        *((name, False) for name in ("gpt2", "owner/name", "runs/there", "a/b/there")),
    ],
)
def test_a_path_that_can_only_be_local(path: str, lacks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for there in ("runs/there", "a/b/there"):
        Path(there).mkdir(parents=True)
    assert lacks_directory(path) == lacks


def test_a_run_that_was_not_made_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"model\.path: no directory runs/sft here"):
        resolve(ModelConfig(path="runs/sft"))


def test_an_error_of_the_hub_says_that_there_is_no_directory(tmp_path: Path) -> None:
    message = r"no directory nope here; it was then looked for on the hub, without success: no route"
    with pytest.raises(OSError, match=message), reading_from_hub("nope"):
        raise OSError("no route")
    with pytest.raises(OSError, match=r"^bad file$"), reading_from_hub(str(tmp_path)):
        raise OSError("bad file")
