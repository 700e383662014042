"""The timeline of a plan as an SVG picture: one rollout with its updates, and the whole run."""

from __future__ import annotations

from html import escape

from align.planning.plan import SAMPLING, Plan, Turn

WIDTH, LEFT, BAR = 960, 20, 34
COLOURS = {
    "weights to the engine": "#999999",
    "reading prompts": "#CC79A7",
    "decoding": "#0072B2",
    "decoding, the longest responses": "#56B4E9",
    "old log-probabilities": "#E69F00",
    "reference": "#F0E442",
    "divergence from the first policy": "#B8860B",
    "reward models": "#D55E00",
    "teacher": "#8C564B",
    "updates": "#009E73",
    "evaluation": "#444444",
}


def svg(plan: Plan) -> str:
    """The picture: a typical rollout above, seconds over the run below, and the legend."""
    typical = sorted(plan.turns, key=lambda turn: turn.total)[len(plan.turns) // 2]
    body = [
        _text(
            LEFT,
            24,
            f"{plan.shape.name} on {plan.cluster.devices} {plan.cluster.device.name}: "
            f"{plan.seconds / 3600:,.0f} h, {plan.device_hours:,.0f} device hours, {plan.cost:,.0f}",
            size=17,
        ),
        *_timeline(plan, typical, top=50),
        *_sequences(typical, top=178),
        *_run(plan, top=320),
        *_legend(plan, top=560),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 640" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="640" fill="white"/>', *body, "</svg>\n"])


def _timeline(plan: Plan, turn: Turn, top: int) -> list[str]:
    """Bars in the order of a step; with overlap sampling above, training below, both from the left."""
    title = f"One rollout and its updates: step {turn.step:,} ({turn.phase}), {turn.total:,.0f} s"
    found = [_text(LEFT, top, title)]
    rows = [
        [part for part in turn.seconds if part in SAMPLING],
        [part for part in turn.seconds if part not in SAMPLING],
    ]
    scale = (WIDTH - 2 * LEFT) / turn.total if turn.total else 0.0
    at = 0.0
    for number, row in enumerate(rows):
        # With overlap within a rollout the last update ends after the last response.
        at = 0.0 if plan.cluster.overlap or not number else turn.total - sum(turn.seconds[part] for part in row)
        y = top + 12 + number * (BAR + 8)
        for part in row:
            seconds = turn.seconds[part]
            found.append(_bar(LEFT + at * scale, y, seconds * scale, BAR, part, f"{part}: {seconds:,.1f} s"))
            if seconds * scale > 60:
                found.append(_text(LEFT + at * scale + 5, y + 21, f"{seconds:,.0f} s", colour="white", size=12))
            at += seconds
    return found


def _sequences(turn: Turn, top: int) -> list[str]:
    """Sequences under way on the slowest replica, over the time of decoding."""
    course = turn.decoding.course
    if len(course) < 2:
        return []
    most, end = max(count for _, count in course), course[-1][0]
    wide, high = WIDTH - 2 * LEFT, 80
    points = [(float(LEFT), float(top + 16 + high))]
    before = 0
    for seconds, count in course:
        x = LEFT + wide * seconds / end
        points += [(x, top + 16 + high * (1 - before / most)), (x, top + 16 + high * (1 - count / most))]
        before = count
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    title = f"Sequences under way on the slowest replica: {most:,} at first, the longest of {turn.longest:,} tokens"
    return [_text(LEFT, top + 6, title), f'<polygon points="{path}" fill="{COLOURS["decoding"]}" opacity="0.5"/>']


def _run(plan: Plan, top: int) -> list[str]:
    """Seconds of a rollout by part, over the steps."""
    high, wide = 190, WIDTH - 2 * LEFT - 60
    most = max(sum(turn.seconds.values()) for turn in plan.turns) or 1.0
    found = [_text(LEFT, top, "The run: seconds of a rollout and its updates, over the steps")]
    count = sum(turn.stands_for for turn in plan.turns)
    x = float(LEFT + 60)
    for turn in plan.turns:
        width, y = wide * turn.stands_for / count, float(top + 16 + high)
        for part, seconds in turn.seconds.items():
            y -= high * seconds / most
            tip = f"step {turn.step:,}, {part}: {seconds:,.1f} s"
            found.append(_bar(x, y, width, high * seconds / most, part, tip))
        x += width
    for share in (0.0, 0.5, 1.0):
        found.append(_text(LEFT, top + 20 + high * (1 - share), f"{most * share:,.0f} s", size=12))
    found.append(_text(LEFT + 60, top + high + 32, "step 0", size=12))
    found.append(_text(LEFT + wide - 30, top + high + 32, f"step {plan.steps:,}", size=12))
    return found


def _legend(plan: Plan, top: int) -> list[str]:
    found, x, y = [], LEFT, top + 8
    for part, seconds in plan.parts.items():
        if not seconds:
            continue
        label = f"{part} {seconds / 3600:,.1f} h"
        if x + 24 + 7 * len(label) > WIDTH:
            x, y = LEFT, y + 24
        found += [_bar(x, y - 11, 14, 14, part, label), _text(x + 20, y + 1, label, size=12)]
        x += 40 + 7 * len(label)
    return found


def _bar(x: float, y: float, width: float, height: float, part: str, tip: str) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}" height="{max(height, 0):.2f}" '
        f'fill="{COLOURS[part]}"><title>{escape(tip)}</title></rect>'
    )


def _text(x: float, y: float, text: str, *, size: int = 14, colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
