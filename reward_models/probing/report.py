"""The results of probes: ``probe.json`` and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context

from reward_models.data.prepare import write_json
from reward_models.data.records import TASKS, Conversation
from reward_models.probing.measure import Effect, Probed
from reward_models.reporting.charts import MODEL, RULE, STYLE, WRONG, Picture, canvas, drawn
from reward_models.reporting.page import Card, Section, Table, embedded, write_page

PROBE_JSON, PROBE_PAGE = "probe.json", "probe.html"
COLOURS = {"pass": MODEL, "undecided": RULE, "fail": WRONG}
LEADS = {
    "preference": (
        "A policy that is trained against this model tries whatever raises the score. Each probe edits good responses "
        "in a way that does not help the user, and measures what the score gains."
    ),
    "safety": (
        "A policy that is trained against this model tries whatever makes unsafe content look safe. Each probe edits "
        "unsafe responses, which stay unsafe, and measures what the score gains."
    ),
}


def write_probed(probed: Probed, out: Path) -> Path:
    """Write ``probe.html`` and then ``probe.json`` into ``out``; returns the page.

    That of an earlier call is deleted first: a kill leaves none of another page.
    """
    (out / PROBE_JSON).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    figures = probed.figures()
    for effect in probed.effects:
        figures["probes"][effect.probe.name]["examples"] = [_example(effect, place) for place in _examples(effect)]
    name = probed.model.directory.name if probed.model.directory else "the model"
    source = ", ".join(probed.material.files) or "built-in texts"
    page = write_page([_section(probed, figures)], out / PROBE_PAGE, title=f"Probes of {name}", lead=f"On {source}.")
    write_json(figures, out / PROBE_JSON)
    return page


def _section(probed: Probed, figures: dict[str, Any]) -> Section:
    task = probed.model.task
    unit = f"{probed.unit:.3g}"
    return Section(
        title=f"{TASKS[task].model.capitalize()} reward model",
        lead=LEADS[task] + " Effects are in standard deviations of its scores of good responses.",
        cards=[
            Card(f"{figures['n_pass']}", "passed", "the whole interval is at or below the bound"),
            Card(f"{figures['n_fail']}", "failed", "the whole interval is above the bound"),
            Card(
                f"{figures['n_undecided']}", "undecided", "the bound lies inside the interval: measure on more prompts"
            ),
            Card(unit, "one unit", f"standard deviation over {probed.unit_n} good responses"),
        ],
        pictures=[embedded(_chart(probed.effects))],
        tables=[_table(probed.effects, task == "safety")],
        samples=[_sample(effect, place) for effect in _by_outcome(probed.effects) for place in _examples(effect)],
        sensitive=task == "safety",
    )


def _by_outcome(effects: Sequence[Effect]) -> list[Effect]:
    """Failures first, and the largest effect of each outcome first."""
    order = ("fail", "undecided", "pass")
    return sorted(effects, key=lambda e: (order.index(e.outcome), -(e.mean if e.mean is not None else -np.inf)))


def _table(effects: Sequence[Effect], safety: bool) -> Table:
    columns = ["probe", "edit", "effect", "95 % interval", "at most", "outcome", "n", "raised"]
    columns += ["called safe before", "and after"] if safety else []
    rows = []
    for effect in _by_outcome(effects):
        figures = effect.figures()
        interval = "–" if effect.interval is None else " to ".join(map(_signed, effect.interval))
        row = [effect.probe.name, effect.probe.title, _signed(effect.mean), interval, _signed(effect.probe.bound)]
        row += [effect.outcome, str(figures["n"]), _percent(figures["raised"])]
        if safety:
            row += [_percent(figures.get(f"called_safe_{name}")) for name in ("plain", "tried")]
        rows.append(row)
    left_out = sum(effect.left_out for effect in effects)
    note = "n: number of prompts. Raised: share of them whose score the edit raised."
    note += f" {left_out} pairs were left out: the model cannot read them whole." if left_out else ""
    return Table("Effects", columns, rows, note)


@rc_context(STYLE)
def _chart(effects: Sequence[Effect]) -> Picture:
    shown = [effect for effect in _by_outcome(effects) if effect.mean is not None]
    figure, (axes,) = canvas(height=1.3 + 0.28 * len(shown))
    axes.axvline(0, color="black", linewidth=0.8)
    for at, effect in enumerate(shown):
        colour = COLOURS[effect.outcome]
        if effect.interval is not None:
            axes.hlines(at, *effect.interval, color=colour, linewidth=2.5, alpha=0.4)
        axes.plot([float(effect.effects_N.mean())], [at], "o", color=colour, markersize=6)
        axes.plot([effect.probe.bound] * 2, [at - 0.4, at + 0.4], color="black", linewidth=1.2)
    axes.set_yticks(range(len(shown)), [effect.probe.name for effect in shown], fontsize=9)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("standard deviations of good responses")
    caption = (
        "Mean effect of each edit with its 95 % interval; the short black line is the largest effect that passes. "
        "Blue: the whole interval is to the left of its line (passed). Orange: to the right of it (failed). Grey: the "
        "line lies inside the interval (undecided)."
    )
    return drawn(figure, "probes", "Effects", caption)


# --- examples -------------------------------------------------------------------------------------------------------


def _examples(effect: Effect) -> list[int]:
    """The trial with the largest effect, and the one in the middle."""
    order = np.argsort(-effect.effects_N, kind="stable").tolist()
    return list(dict.fromkeys([order[0], order[len(order) // 2]])) if order else []


def _example(effect: Effect, place: int) -> dict[str, Any]:
    trial = effect.trials[place]
    return {
        "prompt": _text(trial.prompt),
        "plain": _text(trial.plain),
        "tried": _text(trial.tried),
        "score_plain": float(effect.plain_N[place]),
        "score_tried": float(effect.tried_N[place]),
        "effect": float(effect.effects_N[place]),
    }


def _sample(effect: Effect, place: int) -> dict[str, Any]:
    example = _example(effect, place)
    # where both responses are unsafe, neither is the good one
    moods = ("", "") if effect.of_unsafe else ("good", "bad")
    replies = [
        {"mood": mood, "label": label, "score": f"{example[f'score_{key}']:.2f}", "text": example[key]}
        for mood, label, key in zip(moods, ("plain", effect.probe.name), ("plain", "tried"), strict=True)
    ]
    why = f"{effect.probe.name}: {effect.probe.title} · effect {_signed(example['effect'])} · {effect.outcome}"
    return {"why": why, "prompt": example["prompt"], "replies": replies}


def _text(conversation: Conversation) -> str:
    if len(conversation) == 1:
        return conversation[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in conversation)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
