"""Runs that an earlier version began, which did not have all of today's settings, go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from omegaconf import OmegaConf

from keel.pipeline.stage import PROGRAMS
from reward_models.runtime.config import with_defaults


def without_each_key(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings once without each of their keys, sections' keys too."""
    for key, value in settings.items():
        rest = {name: each for name, each in settings.items() if name != key}
        yield rest
        if isinstance(value, dict):
            yield from ({**rest, key: part} for part in without_each_key(value))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_setting_that_a_run_does_not_have_is_at_its_default(program: str) -> None:
    schema = PROGRAMS[program].schema
    whole: Any = OmegaConf.to_container(OmegaConf.structured(schema))
    cut = list(without_each_key(whole))
    assert len(cut) > 10
    assert all(with_defaults(schema, each) == whole for each in cut)
