"""Verdicts on single turns of the assistant as records: one for each turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from annotation_ui.store.tables import Item, Judgement

Messages = Sequence[Mapping[str, Any]]


def conversation_of(item: Item) -> list[dict[str, Any]]:
    """The conversation whose turns are judged: the prompt, and the response where there is only one."""
    responses = item.responses
    return [*item.prompt, *(responses[0].messages if len(responses) == 1 else [])]


def turn_rows(item: Item, said: Sequence[Judgement], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for every turn that most of the votes agree on: ``prompt`` (all that comes before it), ``completion``, the
    ``verdict``, the ``votes`` on it and the ``agreement``.

    ``label`` is true for the first label of the form under which the last vote was given: with it a row is of TRL's
    unpaired preference layout.
    """
    messages = conversation_of(item)
    rows = []
    for turn, given in _by_turn(said):
        frequent = Counter(label for label, _ in given).most_common(2)
        if len(frequent) == 2 and frequent[0][1] == frequent[1][1]:
            continue
        verdict, count = frequent[0]
        rows.append(
            {"prompt": messages[:turn], "completion": [messages[turn]], "label": verdict == given[-1][1]}
            | {"verdict": verdict, "turn": turn}
            | {**about, "id": f"{about['id']}:{turn}", "votes": len(given), "agreement": count / len(given)}
        )
    return rows


def _by_turn(said: Sequence[Judgement]) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """``(turn, [(label, the first label of the form)])``, in the order of the conversation."""
    found: dict[int, list[tuple[str, str]]] = {}
    for judgement in said:
        form = (judgement.guideline.form if judgement.guideline else None) or {}
        first = next(iter(form.get("turns", ())), "")
        for turn, label in (judgement.payload or {}).get("turns", {}).items():
            found.setdefault(int(turn), []).append((label, first))
    return iter(sorted(found.items()))
