"""Colours, style and sizes of all charts, and the chart of a metric by source.

A colour has one meaning everywhere (palette of Okabe & Ito, which colour-blind readers can distinguish): blue is the
model, correct, or safe; vermilion is wrong or unsafe; purple is the TF-IDF baseline; grey is a simple rule or chance.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MODEL, WRONG, TFIDF, RULE = "#0072B2", "#D55E00", "#AA4499", "#5f6672"
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ac",
    "axes.labelcolor": "#1d2433",
    "axes.grid": True,
    "grid.color": "#e6e9ee",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#3d4554",
    "ytick.color": "#3d4554",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 9,
}
SIZE = (4.8, 3.3)  # inches; two fit side by side on a screen, one fills a phone
DPI = 170


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart as PNG with title and caption; ``name`` is a file stem."""

    name: str
    title: str
    caption: str
    png: bytes


def save(pictures: Sequence[Picture], directory: Path) -> None:
    """Write each as ``<name>.png``."""
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (directory / f"{picture.name}.png").write_bytes(picture.png)


Row = tuple[str, float, Sequence[float] | None, dict[str, float]]


def rows_of(figures: Mapping[str, Any], key: str, others: Mapping[str, str]) -> list[Row]:
    """``(name, value, interval, {label: other value})`` of every source that has the metric, and of all together."""
    sources = dict(figures["by_source"])
    if len(sources) > 1:
        sources["all"] = figures
    return [
        (name, f[key], f[f"{key}_ci95"], {label: f[o] for o, label in others.items() if f[o] is not None})
        for name, f in sources.items()
        if f[key] is not None
    ]


def forest(rows: Sequence[Row], label: str, *, chance: float | None = None) -> Figure:
    """One row per source: the model's value with its interval, and the values of simpler methods."""
    figure, (axes,) = canvas(height=1.5 + 0.32 * len(rows))
    if chance is not None:
        axes.axvline(chance, color=RULE, linewidth=0.8, linestyle=":")
    for at, (_, _, interval, _) in enumerate(rows):
        if interval is not None:
            axes.hlines(at, interval[0], interval[1], color=MODEL, linewidth=2.5, alpha=0.4)
    for name in dict.fromkeys(name for row in rows for name in row[3]):
        points = [(row[3][name], at) for at, row in enumerate(rows) if name in row[3]]
        style: Any = {"marker": "s", "color": TFIDF} if name == "TF-IDF" else {"marker": "D", "color": RULE}
        axes.plot(*zip(*points, strict=True), linestyle="", markersize=5, label=name, **style)
    axes.plot([value for _, value, _, _ in rows], range(len(rows)), "o", color=MODEL, markersize=7, label="model")
    axes.set_yticks(range(len(rows)), [_shortened(name) for name, *_ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
    figure.legend(loc="outside upper center", ncols=3, handletextpad=0.2, columnspacing=1.2)
    return figure


def _shortened(name: str, limit: int = 26) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def edges_of(values: np.ndarray) -> list[float]:
    """Borders of 40 bins over the values."""
    return np.histogram_bin_edges(values, bins=40).tolist()


def canvas(
    rows: int = 1, height: float = SIZE[1], *, sharex: bool = False, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A white figure with axes one above the other."""
    figure = Figure(figsize=(SIZE[0], height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, 1, sharex=sharex, squeeze=False, height_ratios=ratios)
    return figure, list(axes[:, 0])


def drawn(figure: Figure, name: str, title: str, caption: str) -> Picture:
    """The finished figure as a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return Picture(name, title, caption, buffer.getvalue())
