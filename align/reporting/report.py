"""One self-contained page about reinforcement-learning runs, finished or under way: did it go well?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from align.reporting.runs import FIGURES, Run, changes_of, read_run
from reward_models.reporting.charts import MODEL, RULE, STYLE, TFIDF, WRONG, Picture, canvas, drawn
from reward_models.reporting.page import Card, Section, Table, embedded, write_page

COLOURS = (MODEL, WRONG, "#009E73", TFIDF, "#E69F00", "#56B4E9", RULE)
BEST = "#009E73"
PICKS = ("best", "worst", "random")  # samples that are shown of each domain, latest first
ALARMS = 20  # rows of the table
# on the whole scale: a small change should look small
SHARES = ("Held-out accuracy", "Groups without signal", "Weights of the correction")
MODELS = ("helpful", "safety")
NOTE = "± is one standard error over the prompts. A change is better or worse only where it exceeds two of them."
# Title, metrics with their labels, and caption of each chart about the updates.
UPDATES: tuple[tuple[str, Mapping[str, str], str], ...] = (
    ("Divergence", {"kl": "from the reference", "kl_first": "from the first policy"}, "k3, nats per token."),
    ("Entropy", {"entropy": "entropy"}, "Nats per token when sampling; near 0 nothing new is tried."),
    (
        "Groups without signal",
        {"groups_without_signal": "share"},
        "Prompts whose responses all earned the same: they teach nothing.",
    ),
    (
        "Policy against its samples",
        {"ratio": "π/π_old", "ratio_max": "largest π/π_old", "mismatch_max": "largest gap to the rollout engine"},
        "The mean ratio stays near 1 whatever happens, the largest one does not; the gap is a difference of "
        "log-probabilities.",
    ),
    (
        "Weights of the correction",
        {
            "effective_share": "effective share",
            "correction_limited": "limited",
            "correction_masked": "masked",
            "off_policy_masked": "responses too far off",
            "overlong": "responses cut",
        },
        "Effective sample size over the tokens; shares of tokens whose weight a cap limits or a mask makes 0; "
        "shares of responses without policy term.",
    ),
)


def report(directories: Sequence[Path], out: Path) -> Path:
    """Write the page about these runs; several are compared first."""
    runs = [read_run(directory) for directory in directories]
    sections = [section_of(run) for run in runs]
    if len(runs) > 1:
        sections.insert(0, comparison(runs))
    names = ", ".join(run.name for run in runs)
    lead = "Dotted lines are changes of phase, red marks are guards' alarms, a green dashed line is the best policy."
    return write_page(
        sections, out, title=f"Reinforcement learning: {names}", lead=lead, summary=before_and_after(runs)
    )


def before_and_after(runs: Sequence[Run]) -> Table | None:
    """Held-out figures before and after: of one run after every phase, of several side by side."""
    figures = list(dict.fromkeys(figure for run in runs for figure in run.figures))
    if len(runs) == 1:
        (run,) = runs
        columns = ("held out", "before", *(f"→ {name}" for name, _ in run.ends), "change")
        rows = [(title_of(figure), *_course(run, figure), f"{word} {by}") for figure, (word, by) in changes_of(run)]
    else:
        columns = ("held out", *(run.name for run in runs))
        changes = [dict(changes_of(run)) for run in runs]
        rows = [
            (title_of(figure), *(_told(run, figure, changed) for run, changed in zip(runs, changes, strict=True)))
            for figure in figures
        ]
    return Table("", columns, rows, NOTE) if rows else None


def title_of(figure: str) -> str:
    """``accuracy_greedy`` → ``accuracy, greedy``; sampled is how a policy is used, and goes without saying."""
    name, _, mode = figure.rpartition("_")
    title = FIGURES[name][0] if name in FIGURES else name
    return f"{title}, greedy" if mode == "greedy" else title


def _course(run: Run, figure: str) -> list[str]:
    """Before, and at the end of every phase."""
    steps, values = run.series(f"eval/{figure}")
    cells = [_number(values[0])]
    start = 0
    for _, end in run.ends:
        within = [value for step, value in zip(steps, values, strict=True) if start < step <= end]
        cells.append(_number(within[-1]) if within else "–")
        start = end
    return cells


def _told(run: Run, figure: str, changes: Mapping[str, tuple[str, str]]) -> str:
    if figure not in changes:
        return "–"
    _, values = run.series(f"eval/{figure}")
    word, by = changes[figure]
    return f"{word}: {_number(values[0])} → {_number(values[-1])} ({by})"


def _verdict(run: Run) -> str:
    """A summary of the run's outcome in two sentences."""
    changed: dict[str, list[str]] = {"better": [], "worse": []}
    for figure, (word, _) in changes_of(run):
        if word in changed:
            changed[word].append(title_of(figure))
    told = [f"{word.capitalize()}: {'; '.join(titles) or 'nothing'}." for word, titles in changed.items()]
    count = len(run.alarms)
    alarms = f"{count} alarm{'s' * (count > 1)} of guards." if count else "No guard raised an alarm."
    return " ".join([*(told if run.figures else []), alarms])


def section_of(run: Run) -> Section:
    last = max(line["step"] for line in run.lines)
    return Section(
        title=run.name,
        lead=f"{last:,} steps. {_verdict(run)}",
        cards=_cards(run),
        pictures=[embedded(picture) for picture in pictures(run)],
        tables=_alarm_tables(run),
        samples=[_sample(sample) for sample in to_read(run)],
        sensitive=any(sample["domain"] == "safety" for sample in to_read(run)),
        details=run.config,
    )


def to_read(run: Run) -> list[dict[str, Any]]:
    """Of each domain the best, the worst and a random response of the last rollout that had any."""
    latest = {(sample["domain"], sample["pick"]): sample for sample in run.samples}
    domains = sorted({domain for domain, _ in latest})
    return [latest[domain, pick] for domain in domains for pick in PICKS if (domain, pick) in latest]


def pictures(run: Run) -> list[Picture]:
    """Every chart that the run has figures for."""
    weighted, weights = (  # what has no weight is measured, and no reward
        {name: name.partition("/")[2] for name in run.names(prefix) if any(run.series(name)[1])}
        for prefix in ("weighted/", "weight/")
    )
    others = [figure for figure in run.figures if not figure.startswith(("accuracy_", "length_", *MODELS))]
    held_out = {f"eval/{figure}": title_of(figure) for figure in others}
    models = {f"eval/{name}_sampled": FIGURES[name][0] for name in MODELS}
    charts: list[tuple[str, Mapping[str, str], str]] = [
        (
            "Reward",
            {"reward": "total", **weighted},
            "Mean of the rollout's samples: the total, and each term as it enters the sum, where it applies.",
        ),
        (
            "Held-out accuracy",
            {"eval/accuracy_sampled": "sampled", "eval/accuracy_greedy": "greedy"},
            "Reasoning prompts that are never trained on. Part of a gain in sampled accuracy is sharpening.",
        ),
        (
            "What the reward models say",
            models,
            "Of held-out prompts. It should rise where they are trained for; what that is worth, they cannot say.",
        ),
        ("Other held-out figures", held_out, "Of sampled responses."),
        ("Length", {"response_length": "of the rollout", "eval/length_sampled": "held out"}, "Tokens of a response."),
        *UPDATES,
        (
            "Disagreement of reward models",
            {name: name.partition("/")[2] for name in run.names("disagreement/")},
            "Standard deviation over the members of an ensemble: where it grows, responses are unlike what they know.",
        ),
        ("Weights", weights, "Of the rewards, as schedule and guards set them."),
    ]
    with matplotlib.rc_context(STYLE):
        return [
            _chart(run, title, names, caption)
            for title, names, caption in charts
            if any(run.series(name)[0] for name in names)
        ]


def comparison(runs: Sequence[Run]) -> Section:
    """The same figures of several runs on the same axes."""
    figures = list(dict.fromkeys(figure for run in runs for figure in run.figures))
    shown = {
        "reward": "Reward",
        **{f"eval/{figure}": title_of(figure) for figure in figures},
        "response_length": "Length",
        "kl": "Divergence from the reference",
    }
    drawn_pictures = []
    with matplotlib.rc_context(STYLE):
        for name, title in shown.items():
            if sum(bool(run.series(name)[0]) for run in runs) < 2:
                continue
            figure, (axes,) = canvas()
            for run, colour in zip(runs, COLOURS * len(runs), strict=False):
                axes.plot(*run.series(name), color=colour, label=run.name, linewidth=1.5)
            axes.set_xlabel("step")
            axes.legend()
            drawn_pictures.append(embedded(drawn(figure, name.replace("/", "_"), title.capitalize(), "")))
    return Section("Comparison", f"{len(runs)} runs on the same axes.", [], drawn_pictures, [])


def _chart(run: Run, title: str, names: Mapping[str, str], caption: str) -> Picture:
    figure, (axes,) = canvas()
    for (name, label), colour in zip(names.items(), COLOURS * len(names), strict=False):
        steps, values = run.series(name)
        if steps:
            marker = "o" if len(steps) < 30 else ""
            axes.plot(steps, values, color=colour, label=label, linewidth=1.5, marker=marker, markersize=3)
    if title in SHARES:
        axes.set_ylim(-0.02, 1.02)
    _mark(axes, run)
    axes.set_xlabel("step")
    axes.legend()
    return drawn(figure, title.lower().replace(" ", "_"), title, caption)


def _mark(axes: Axes, run: Run) -> None:
    for step, name in run.switches:
        axes.axvline(step, color=RULE, linewidth=1, linestyle=":")
        axes.annotate(name, (step, 1), xycoords=("data", "axes fraction"), fontsize=8, color=RULE, va="bottom")
    for alarm in run.alarms:
        axes.plot(alarm["step"], 0, marker="|", color="#c00000", markersize=9, transform=axes.get_xaxis_transform())
    if run.best is not None:
        axes.axvline(run.best.step, color=BEST, linewidth=1, linestyle="--")
        axes.annotate("best", (run.best.step, 0), xycoords=("data", "axes fraction"), fontsize=8, color=BEST)


def _cards(run: Run) -> list[Card]:
    cards = []
    for name, title in {"reward": "reward", "eval/accuracy_sampled": "held-out accuracy"}.items():
        steps, values = run.series(name)
        if steps:
            cards.append(Card(_number(values[-1]), title, f"{_number(values[0])} at step {steps[0]:,}"))
    if run.best is not None:
        title = f"best {title_of(run.best.metric.removeprefix('eval/'))}"
        note = f"at step {run.best.step:,}; last {_number(run.best.last_value)}"
        cards.append(Card(_number(run.best.value), title, note))
    steps, values = run.series("kl")
    if steps:
        cards.append(Card(_number(values[-1]), "divergence", "nats per token, from the reference"))
    return cards


def _alarm_tables(run: Run) -> list[Table]:
    if not run.alarms:
        return []
    rows = [(f"{a['step']:,}", a["rule"], _number(a["value"]), a["action"], a["done"]) for a in run.alarms[-ALARMS:]]
    note = f"The last {ALARMS} of {len(run.alarms)}; guards.jsonl holds all." if len(run.alarms) > ALARMS else ""
    return [Table("Alarms", ("step", "rule", "value", "action", "done"), rows, note)]


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    reward = sample["reward"]
    weighted = sample["weighted"]
    terms = ", ".join(
        f"{name} {_number(value)}" + (f" (weighted {_number(weighted[name])})" if weighted[name] != value else "")
        for name, value in sample["terms"].items()
        if value is not None
    )
    ends = "" if sample["finished"] else " (cut at the length limit)"
    return {
        "why": f"{sample['domain']}, {sample['pick']} of step {sample['step']:,}: {terms}",
        "prompt": "\n\n".join(f"{m['role']}: {m['content']}" for m in sample["prompt"]),
        "replies": [
            {
                "mood": "good" if sample["advantage"] > 0 else "bad" if sample["advantage"] < 0 else "",
                "label": f"{sample['tokens']} tokens{ends}, advantage {sample['advantage']:.2f}",
                "score": "none" if reward is None else _number(reward),
                "text": sample["response"],
            }
        ],
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
