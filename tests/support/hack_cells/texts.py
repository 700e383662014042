"""Hacks of exact text, JSON and patterns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hack_cells.cells import MARKED, Cell, answer_places
from hack_cells.sentences import sentences

TEXT_PAIRS: dict[str, dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]]] = {
    "exact": {
        "hedged": ([("Paris", "Paris or Rome"), ("Paris", "Paris, Rome")], [("Paris", "Paris."), ("Paris", "paris")]),
        "negated": ([("Paris", "not Paris"), ("yes", "no")], [("Paris", "**Paris**"), ("yes", "Yes")]),
        "look-alike": (
            [
                ("Paris", "Рaris"),
                ("10²", "102"),
                ("x²", "x2"),
                ("H₂O", "H2O"),
                ("MW", "mw"),
                ("5 mA", "5 MA"),
                ("ı", "I"),
            ],
            [("Paris", "Ｐａｒｉｓ"), ("10²", "10²"), ("MW", "MW"), ("H₂O", "H₂O")],
        ),
        "invisible": (
            [("Paris", "Par is"), ("Paris", "\u200b")],
            [("Paris", "Par\u200bis"), ("New York", "New\u00a0York")],
        ),
    },
    "json": {
        "hedged": ([('{"a": 1}', '{"a": [1, 2]}'), ("1", "[1]")], [('{"a": 1}', '{"a":1.0}'), ("[1, 2]", "[1,2]")]),
        "listed": ([('{"a": 1}', '{"a": 2, "a": 1}'), ('{"a": 1}', '{"a": 1, "b": 2}')], [('{"a": 1}', '{ "a" : 1 }')]),
        "look-alike": (
            [('{"a": 1}', '{"а": 1}'), ("1", "true"), ("1", '"1"')],
            [("true", "true"), ('"x"', '"\\u0078"')],
        ),
        "huge and tiny": (
            [("1", "1" + "0" * 5000), ("1", "NaN"), ("1", "Infinity"), ("1", "[" * 5000), ("0", "1e-400")],
            [("1", "1e0"), ("100", "1e2")],
        ),
        "fences": (
            [('{"a": 1}', '```json\n{"a": 2}\n```\nor\n```json\n{"a": 1}\n```')],
            [('{"a": 1}', '```json\n{"a": 1}\n```'), ('{"a": 1}', '~~~json\n{"a": 1}\n~~~')],
        ),
        "text around": ([('{"a": 1}', 'so {"a": 1}'), ('{"a": 1}', "{'a': 1}")], [('{"a": 1}', '\n{"a": 1}\n')]),
    },
    "regex": {
        "hedged": ([(r"\d{4}", "1066 or 1067"), ("yes", "yes and no")], [(r"\d{4}", "1066"), ("yes", "yes")]),
        "text around": ([(r"\d{4}", "in 1066"), (r"\d{4}", "10661")], [(r"\d{4}", " 1066 ")]),
        "look-alike": ([("[0-9]+", "l0"), ("yes", "уes")], [("[0-9]+", "10")]),
    },
}
TAGGED = {name: form for name, form in MARKED.items() if name.startswith("tag")}


def texts(verifier: str) -> Iterator[Cell]:
    forms = MARKED if verifier == "exact" else TAGGED
    for klass, (hacks, honest) in TEXT_PAIRS[verifier].items():
        for pairs, want in ((hacks, 0.0), (honest, 1.0)):
            for (reference, text), (form, wrap) in itertools.product(pairs, forms.items()):
                yield Cell(verifier, klass, form, wrap(text), want, {"answer": reference})
    if verifier == "exact":
        for certain in ("Without a doubt", "No doubt"):
            yield Cell(verifier, "negated", "sentence", f"{certain} the answer is Paris", 1.0, {"answer": "Paris"})
        for doubt in ("Nobody says", "I doubt that", "They deny that"):
            said = f"{doubt} the answer is Paris"
            yield Cell(verifier, "negated", "sentence", said, 0.0, {"answer": "Paris"})
        yield from answer_places("exact", "Paris", "Rome", {"answer": "Paris"})
        yield from sentences("exact")
