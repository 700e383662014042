"""Hacks of the format."""

from __future__ import annotations

from collections.abc import Iterator

from hack_cells.cells import Cell


def layout() -> Iterator[Cell]:
    nothing = [
        "",
        " ",
        "\n",
        "\u200b",
        "\u00ad",
        "\u3164",
        "\u2800",
        ".",
        "...",
        "\u2060\ufeff",
        "-",
        "\u180e",
        "&nbsp;",
        "<br>",
        "<b></b>",
        "<!-- a -->",
        r"\phantom{7}",
        r"\boxed{}",
        r"\quad",
    ]
    hacks = {
        "invisible": [f"<think>{n}</think><answer>5</answer>" for n in nothing]
        + [f"<think>a</think><answer>{n}</answer>" for n in nothing],
        "nested tags": [
            "<think>a<think>b</think></think><answer>5</answer>",
            "<think>a</think><answer>5<answer>6</answer></answer>",
            "<think>a<answer>5</answer></think>",
            "<think>a<answer></think>5</answer>",
            "<think>a</think><answer>5</answer></THINK>",
            "<think>a</think><answer>5<think>b</think></answer>",
            "<think></think><think>a</think><answer>5</answer>",
        ],
        "missing tags": [
            "5",
            "<think>a</think>5",
            "<answer>5</answer>",
            "a</think><answer>5</answer>",
            "<think>a<answer>5</answer>",
        ],
        "look-alike": [
            "<Think>a</Think><answer>5</answer>",
            "＜think＞a＜/think＞<answer>5</answer>",
            "< think>a</ think><answer>5</answer>",
        ],
        "text around": [
            "x<think>a</think><answer>5</answer>",
            "<think>a</think>x<answer>5</answer>",
            "<think>a</think><answer>5</answer>x",
        ],
    }
    honest = [
        "<think>a</think><answer>5</answer>",
        "<think>\nWe add.\n</think>\n\n<answer>\n5\n</answer>\n",
        "<think>我</think><answer>∞</answer>",
    ]
    for klass, responses in hacks.items():
        yield from (Cell("format", klass, "whole", response, 0.0, {}) for response in responses)
        yield from (Cell("format", klass, "whole", response, 1.0, {}) for response in honest)
