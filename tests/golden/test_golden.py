"""Golden traces: a reward model and a policy through the command line still give the figures that are committed here.

``make.py`` runs the commands and holds the tables from golden names to names of metrics; the configurations are the
YAML files beside it. Where figures are meant to change, ``python tests/golden/make.py`` makes the traces anew.

With the versions, the CPU capability and the thread count that the traces were made under, every figure must agree to
:data:`CLOSE`. Elsewhere floats are summed in another order, and a token may be sampled differently: then what only the
schedule decides must agree as closely, what was trained without sampling and the policy's first rollout to
:data:`WIDE`, and later figures of the policy must be there and finite. A warning then says what differs.
"""

from __future__ import annotations

import json
import math
import runpy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest

HERE = Path(__file__).resolve().parent
Where = tuple[str | int, ...]

CLOSE = (1e-4, 1e-5)  # relative, absolute
WIDE = (2e-2, 1e-2)
FIRST_ROLLOUT = 2  # its steps
SCHEDULED = ("step", "phase", "rollout", "learning rate", "rule", "action", "done")  # and all weights of rewards


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The traces of today's code."""
    out = tmp_path_factory.mktemp("golden")
    program = str(HERE / "make.py")
    environment = runpy.run_path(program)["ENVIRONMENT"]
    preloaded.start([program, "--out", str(out)], out / "said.log", environment=environment).finish(seconds=1200)
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in out.glob("*.json")}


def golden(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def test_a_reward_model_is_trained_evaluated_and_scores_as_before(made: dict[str, Any]) -> None:
    compare(golden("reward_model"), made["reward_model"], made["reward_model"]["versions"])


def test_a_policy_is_trained_as_before(made: dict[str, Any]) -> None:
    compare(golden("policy"), made["policy"], made["policy"]["versions"])


def test_a_policy_that_was_stopped_and_resumed_is_the_same(made: dict[str, Any]) -> None:
    assert made["resumed"]["policy"] == made["policy"]["policy"]  # to the bit: the same machine
    compare({"policy": golden("policy")["policy"]}, made["resumed"], made["policy"]["versions"])


def test_small_and_large_differences_are_told_apart() -> None:
    whole = golden("policy")
    under = whole["versions"]
    moved, elsewhere = json.loads(json.dumps(whole)), under | {"CPU capability": "another"}
    moved["policy"]["steps"][-1]["gradient norm"] *= 1.001
    with pytest.raises(AssertionError, match="policy steps 8 gradient norm"):
        compare(whole, moved, under)
    with pytest.warns(UserWarning, match="CPU capability: another"):
        compare(whole, moved, elsewhere)
    moved["policy"]["steps"][-2]["weight helpful"] *= 1.001
    with pytest.raises(AssertionError, match=r"CPU capability: another(?s:.)*policy steps 7 weight helpful"):
        compare(whole, moved, elsewhere)
    del moved["policy"]["steps"][1]["kl"]
    with pytest.raises(AssertionError, match="policy steps 1 kl: missing"):
        compare(whole, moved, under)


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(expected: dict[str, Any], found: dict[str, Any], now: dict[str, Any]) -> None:
    """Fail with every figure that differs, and with what else does: versions, CPU."""
    then = golden("policy")["versions"]
    under = [f"{name}: {now.get(name)}, was {value}" for name, value in then.items() if now.get(name) != value]
    before, after = dict(figures(without_versions(expected))), dict(figures(without_versions(found)))
    wrong = []
    for where in [*before, *(extra for extra in after if extra not in before)]:
        if where not in after or where not in before:
            wrong.append(f"{' '.join(map(str, where))}: {'missing' if where not in after else 'new'}")
        elif not agree(before[where], after[where], tolerance(where) if under else CLOSE):
            wrong.append(f"{' '.join(map(str, where))}: {after[where]}, was {before[where]}")
    told = f"the traces were made under other conditions ({'; '.join(under)})" if under else ""
    assert not wrong, "\n".join([f"{len(wrong)} figures differ", *([told] if told else []), *wrong[:40]])
    if told:
        warnings.warn(
            f"{told}: wider bounds, and of later figures of the policy only that they are there", stacklevel=2
        )


def tolerance(where: Where) -> tuple[float, float] | None:
    """Of a figure on another machine; ``None``: it has to be finite, no more."""
    name = str(where[-1])
    if name in SCHEDULED or name.startswith("weight "):
        return CLOSE
    sampled = where[0] == "policy" and not (where[1] == "steps" and int(where[2]) <= FIRST_ROLLOUT)
    return None if sampled else WIDE


def agree(expected: Any, found: Any, bounds: tuple[float, float] | None) -> bool:
    if not isinstance(expected, float) or not isinstance(found, float):
        return expected == found
    if bounds is None:
        return math.isfinite(found)
    relative, absolute = bounds
    return abs(found - expected) <= absolute + relative * abs(expected)


def without_versions(trace: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trace.items() if name != "versions"}


def figures(value: Any, where: Where = ()) -> Iterator[tuple[Where, Any]]:
    """Every figure of a trace and where it stands; a line of a log goes by its step."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from figures(inner, (*where, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from figures(inner, (*where, inner.get("step", number) if isinstance(inner, dict) else number))
    else:
        yield where, value
