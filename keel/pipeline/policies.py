"""The evaluated policies of a project beside one another, and the last one's differences from an earlier one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from keel.pipeline.project import EVALUATE
from keel.pipeline.stage import Stage
from reward_models.reporting.page import Table

# Figures of evaluation.json -> the row's title. pass@k and consensus@k of the largest k and the scores follow.
MEANINGS = {
    "pass@1": "right answers (pass@1)",
    "tokens_mean": "tokens a response",
    "truncated": "cut responses (share)",
    "score/helpful": "helpful reward model",
    "score/safety": "safety reward model",
    "score/format": "format",
    "score/language": "language of the prompt",
    "score/gold_helpfulness": "gold judge: helpful",
    "score/gold_usefulness": "gold judge: useful (safety)",
    "score/gold_unsafe": "gold judge: harmful (share)",
}
NOTE = (
    "Means over the same held-out prompts, with 95 % intervals by a bootstrap over prompts. The first column of "
    "figures is the difference of the last policy from the policy that it was compared with, on the prompts that both "
    "answered. It is empty (–) where the interval contains 0: the data do not show a difference. The words better and "
    "worse are used for right answers and for reward terms that have a weight, higher and lower for other figures. A "
    "reward model's score may rise although people would not prefer the answers."
)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A policy with its figures.

    Attributes:
        name: of the stage that made it. ``figures``: its ``evaluation.json``. ``rewarded``: the terms of the evaluation
            whose weight is positive. ``samples``: the file of its samples.
    """

    name: str
    figures: dict[str, Any]
    rewarded: frozenset[str]
    samples: str = ""


def evaluated(stages: Sequence[Stage]) -> list[Evaluated]:
    """The policies whose evaluation is finished, in the order of the stages."""
    found = []
    for stage in stages:
        if stage.settings.command == "evaluate" and stage.finished:
            figures = json.loads(stage.end.read_text(encoding="utf-8"))
            rewarded = frozenset(term.term for term in stage.config.rewards if term.weight > 0)
            found.append(Evaluated(stage.name.removeprefix(EVALUATE), figures, rewarded, stage.config.out))
    return found


def other_of(policy: Evaluated, policies: Sequence[Evaluated]) -> str:
    """The name of the policy that ``against`` compared this one with; the files of its samples if it is none of these.

    It need not be the first one: an evaluation that a project describes itself names any samples.
    """
    names = {Path(each.samples).resolve(): each.name for each in policies if each.samples}
    against = policy.figures.get("against", [])
    return ", ".join(dict.fromkeys(names.get(Path(file).resolve(), file) for file in against))


def comparison(policies: Sequence[Evaluated]) -> Table | None:
    """A row per figure: the last policy's difference from the one that it was compared with, then a column per policy.

    ``None`` if there is no policy.
    """
    if not policies:
        return None
    last = policies[-1]
    gap = last.figures.get("difference")
    columns = [
        "",
        *([f"{last.name} minus {other_of(last, policies)}"] if gap else []),
        *(each.name for each in policies),
    ]
    rows = []
    for name in _names(policies):
        difference = [_broken(_verdict(gap, name, last.rewarded))] if gap else []
        rows.append((_title(name), *difference, *(_cell(each.figures, name) for each in policies)))
    for part, wanted in _parts(policies):
        cells = [_cell(each.figures["by_source"].get(part, {}), wanted) for each in policies]
        rows.append((f"{_title(wanted)}: {part}", *([""] if gap else []), *cells))
    return Table("", columns, rows, NOTE)


def _cell(figures: dict[str, Any], name: str) -> str:
    """A figure, and its interval on a line of its own: many policies stand side by side."""
    value, bounds = figures.get(name), figures.get(f"{name}_ci95")
    if value is None:
        return "–"
    return _broken(_number(value) + (f" [{_number(bounds[0])}, {_number(bounds[1])}]" if bounds else ""))


def _number(value: float, sign: str = "") -> str:
    return format(value, f"{sign}.2f" if abs(value) < 10 else f"{sign}.0f")


def _broken(text: str) -> str:
    """The text with its interval on a second line."""
    value, mark, bounds = text.partition(" [")
    return Markup("{}<br><small>[{}</small>").format(value, bounds) if mark else text


def verdict(policies: Sequence[Evaluated]) -> str:
    """One sentence: at what the last policy is better or worse than the one that it was compared with.

    Empty before both are evaluated.
    """
    last = policies[-1] if policies else None
    gap = last.figures.get("difference") if last is not None else None
    if last is None or not gap:
        return ""
    found: dict[str, list[str]] = {}
    for name in _names(policies):
        word, _, _ = _verdict(gap, name, last.rewarded).partition(":")
        found.setdefault(word, []).append(_title(name))
    parts = [f"{word}: {'; '.join(found[word])}" for word in ("better", "worse", "higher", "lower") if word in found]
    said = ". ".join(parts) if parts else "no difference is shown"
    return f"The last policy, {last.name}, compared with {other_of(last, policies)}: {said}."


def _names(policies: Sequence[Evaluated]) -> list[str]:
    """Figures that one of the policies has: right answers, then scores, then lengths."""
    keys = {key for each in policies for key, value in each.figures.items() if value is not None}
    keys = {key for key in keys if not key.endswith("_ci95")}
    largest = [
        max((key for key in keys if key.startswith(start)), key=_k, default="") for start in ("pass@", "consensus@")
    ]
    scores = sorted(key for key in keys if key.startswith("score/") and not key.startswith("score/accuracy"))
    found = ["pass@1", *largest, *scores, "tokens_mean", "truncated"]
    return [key for key in dict.fromkeys(found) if key in keys]


def _k(name: str) -> int:
    return int(name.partition("@")[2])


def _parts(policies: Sequence[Evaluated]) -> list[tuple[str, str]]:
    """(source, figure) of the sources with right answers, if there are several."""
    sources = {
        source: "pass@1"
        for each in policies
        for source, figures in each.figures.get("by_source", {}).items()
        if figures.get("pass@1") is not None
    }
    return list(sources.items()) if len(sources) > 1 else []


def _title(name: str) -> str:
    figure, mark, k = name.partition("@")
    if mark and name not in MEANINGS:
        return f"one of {k} right (pass@{k})" if figure == "pass" else f"majority of {k} (consensus@{k})"
    return MEANINGS.get(name, name.removeprefix("score/"))


def _verdict(gap: dict[str, Any], name: str, rewarded: frozenset[str]) -> str:
    """The difference as text; ``–`` where it is not known or its interval contains 0."""
    value, bounds = gap.get(name), gap.get(f"{name}_ci95")
    if value is None or bounds is None or bounds[0] <= 0 <= bounds[1]:
        return "–"
    judged = name.partition("@")[0] in ("pass", "consensus") or name.removeprefix("score/") in rewarded
    word = ("better" if value > 0 else "worse") if judged else ("higher" if value > 0 else "lower")
    return f"{word}: {_number(value, '+')} [{_number(bounds[0], '+')}, {_number(bounds[1], '+')}]"
