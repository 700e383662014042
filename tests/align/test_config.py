"""Settings of reinforcement learning that cannot be are refused when the configuration is read, or at the dry run."""

from __future__ import annotations

import pytest

from align.config import AlignConfig
from align.rewards.build import TermConfig, check_required
from align.rewards.terms import TermError
from reward_models.runtime.config import ConfigError, load_config


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("evaluation.limit=0", r"evaluation\.limit=0 must be at least 1"),
        ("rewards=[{term: accuracy}, {term: format}, {term: accuracy, weight: 2}]", "rewards names accuracy twice"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(AlignConfig, "cpu", [setting])


def test_terms_need_their_arguments() -> None:
    check_required([TermConfig(term=name) for name in ("accuracy", "format", "language", "instructions", "mine:Own")])
    check_required([TermConfig(term="helpful", arguments={"model": "runs/helpful"})])
    check_required([TermConfig(term="helpful", arguments={"urls": ["http://a"]})])
    for term, lacking in (("helpful", "model"), ("overlong", "max_tokens, buffer"), ("judge", "url, model, cache")):
        with pytest.raises(TermError, match=f"rewards: {term} needs {lacking}: write it under `arguments`"):
            check_required([TermConfig(term=term)])
