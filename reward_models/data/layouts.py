"""Rows as public data sets have them become rows in our own layout (:mod:`reward_models.data.formats`).

Each layout is known by columns that it alone has. docs/data-layouts.md lists all of them with the columns they need.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from reward_models.data.code_tests import with_contest_tests, with_tests
from reward_models.data.conversations import quoted
from reward_models.data.files import BadRow
from reward_models.data.instruction_rows import is_constraints, with_constraints, with_ground_truth
from reward_models.data.later_layouts import (
    aegis,
    expected_answer,
    openai_preferences,
    parse_object,
    wildguard,
    without,
)
from reward_models.data.multiple_choice import has_options, with_options
from reward_models.data.records import ATTRIBUTES, RecordError, RecordType

Row = Mapping[str, Any]
Numbered = tuple[int, dict[str, Any]]

STRONGEST = 3  # of HelpSteer's preferences; -100 marks those that annotators called invalid
_ARENA = {"model_a": "a", "model_b": "b", "tie": "tie", "tie (bothbad)": "tie", "both_bad": "tie", "bothbad": "tie"}


def to_ours(row: Row) -> Row:
    """``row`` in our own columns if it is in one of the layouts here, else as it is.

    Raises:
        RecordError: a column that the layout needs is missing or wrong.
    """
    if has_options(row):
        return with_options(row)
    for columns, convert in _LAYOUTS:
        if all(name in row for name in columns):
            return convert(row)
    return row


def verdict_column(row: Row) -> str:
    """The column that says which response is better, in whichever layout the row is."""
    for columns, name in _VERDICTS.items():
        if all(column in row for column in columns):
            return name
    return "label"


def expanded(row: dict[str, Any], record_type: RecordType | None) -> Sequence[dict[str, Any] | RecordError]:
    """The rows of which each gives one record: several where a row holds more than one.

    A row of UltraFeedback or Nectar, which has several responses, gives every pair of them; a row of PKU-SafeRLHF
    read for safety labels gives one for each response. A :class:`RecordError` stands for a pair that is refused.

    Raises:
        RecordError: such a row, but something in it is missing or wrong.
    """
    if record_type in ("comparison", "pair", None) and (found := _several(row)):
        return _completion_pairs(row, *found)
    if record_type == "safety" and "is_response_0_safe" in row:
        return [_saferlhf_label(row, number) for number in (0, 1)]
    return [row]


def paired(rows: Iterable[Numbered | BadRow], file: str) -> Iterator[Numbered | BadRow]:
    """Single rated responses, as HelpSteer2 has them, become pairs: neighbouring rows with the same prompt.

    Other rows pass as they are. The response with the higher ``helpfulness`` is the better one. A prompt with a single
    rated response is a :class:`BadRow`.
    """
    group: list[Numbered] = []
    for item in rows:
        if not isinstance(item, BadRow) and is_rated(item[1]):
            if group and group[0][1].get("prompt") != item[1].get("prompt"):
                yield from _rated_pairs(group, file)
                group = []
            group.append(item)
            continue
        yield from _rated_pairs(group, file)
        group = []
        yield item
    yield from _rated_pairs(group, file)


def is_rated(row: Row) -> bool:
    """True if the row holds one response with HelpSteer2's ratings."""
    return "response" in row and "label" not in row and all(name in row for name in ATTRIBUTES[:2])


def completions(row: Row) -> list[tuple[str, Any]]:
    """Name and text of every response in a row of UltraFeedback or Nectar; empty for other rows."""
    found = _several(row)
    return [] if found is None else [(f"completion_{n}", row[found[0]][n][found[1]]) for n in range(len(row[found[0]]))]


def _several(row: Row) -> tuple[str, str] | None:
    """The column of several responses, as UltraFeedback and Nectar have it, and the key of the text in each."""
    for column, keys in (("completions", ("response",)), ("answers", ("answer", "rank"))):
        found = row.get(column)
        if not isinstance(found, list | tuple) or not found:
            continue
        if all(isinstance(each, dict) and all(key in each for key in keys) for each in found):
            return column, keys[0]
    return None


# --- rows that hold several records, and records in several rows ----------------------------------------------------


def _rated_pairs(group: list[Numbered], file: str) -> Iterator[Numbered | BadRow]:
    if len(group) == 1:
        line, row = group[0]
        reason = "one rated response alone; a comparison needs two neighbouring rows with the same prompt"
        yield BadRow(file, line, reason, row)
    for (line, first), (other, second) in combinations(group, 2):
        try:
            ratings = [rating(row, "helpfulness") for row in (first, second)]
        except RecordError as error:
            yield BadRow(file, line, f"{error} (this row or row {other})", first)
            continue
        kept = {name: value for name, value in first.items() if name not in (*ATTRIBUTES, "response")}
        yield line, kept | _judged(first["response"], second["response"], ratings[0] - ratings[1])


def _completion_pairs(row: Row, column: str, text: str) -> list[dict[str, Any] | RecordError]:
    kept = without(row, column, "models")
    if len(row[column]) < 2:
        raise RecordError(f"key {column!r} has one response; a comparison needs two")
    pairs: list[dict[str, Any] | RecordError] = []
    for (m, first), (n, second) in combinations(enumerate(row[column]), 2):
        if column == "answers":  # rank 1 is the best; how much better is not said
            lead = rating(second, "rank") - rating(first, "rank")
            pairs.append(kept | _judged(first[text], second[text], lead) | {"strength": None})
            continue
        gaps = {}
        for name in ("overall_score", "fine-grained_score"):
            if first.get(name) is not None and second.get(name) is not None:
                gaps[name] = rating(first, name) - rating(second, name)
        if not gaps:
            raise RecordError("the responses in 'completions' have neither 'overall_score' nor 'fine-grained_score'")
        if min(gaps.values()) < 0 < max(gaps.values()):
            names = " and ".join(repr(name) for name in gaps)
            pairs.append(RecordError(f"responses {m} and {n} in 'completions': {names} disagree; drop the wrong one"))
        else:
            gap = gaps.get("overall_score") or gaps.get("fine-grained_score") or 0.0
            pairs.append(kept | _judged(first[text], second[text], gap))
    return pairs


def _judged(first: object, second: object, gap: float) -> dict[str, Any]:
    label = "a" if gap > 0 else "b" if gap < 0 else "tie"
    return {"response_a": first, "response_b": second, "label": label, "strength": abs(gap) or None}


def _saferlhf_label(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "prompt": row.get("prompt"),
        "response": row.get(f"response_{number}"),
        "is_safe": row.get(f"is_response_{number}_safe"),
        "category": row.get(f"response_{number}_harm_category"),
        **{name: row[name] for name in ("id", "source", "system") if name in row},
    }


def rating(row: Row, name: str) -> float:
    """The number in column ``name``. :class:`RecordError` if there is none."""
    value = row.get(name)
    try:
        number = float("nan") if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise RecordError(f"key {name!r} is {quoted(value)}, not a finite number")
    return number


# --- one row, one record --------------------------------------------------------------------------------------------


def _helpsteer_preference(row: Row, first: str, second: str, said: str) -> Row:
    """Below 0 the first response is the better one; the number's size says how much."""
    ours = without(row, first, second, said) | {"response_a": row[first], "response_b": row[second]}
    if row.get(said) is None:
        return ours
    preference = rating(row, said)
    if abs(preference) > STRONGEST:
        raise RecordError(
            f"key {said!r} is {preference:g}, not between -{STRONGEST} and {STRONGEST}; leave the row out"
        )
    label = "a" if preference < 0 else "b" if preference > 0 else "tie"
    return ours | {"label": label, "strength": abs(preference) or None}


def _helpsteer3(row: Row) -> Row:
    return _helpsteer_preference(row, "response1", "response2", "overall_preference")


def _helpsteer2(row: Row) -> Row:
    return _helpsteer_preference(row, "response_1", "response_2", "preference_strength")


def _saferlhf(row: Row) -> Row:
    """PKU-SafeRLHF read for preferences: ``better_response_id`` is the more helpful response."""
    ours = without(row, "response_0", "response_1", "better_response_id")
    ours |= {"response_a": row["response_0"], "response_b": row["response_1"]}
    better = row.get("better_response_id")
    if better is None:
        return ours
    if better not in (0, 1, "0", "1") or isinstance(better, bool):
        raise RecordError(f"key 'better_response_id' is {quoted(better)}, neither 0 nor 1")
    return ours | {"label": "ab"[int(better)]}


def _arena(row: Row) -> Row:
    """Whole conversations with two models, and which model won."""
    ours = without(row, "conversation_a", "conversation_b", "winner")
    ours |= {"response_a": row["conversation_a"], "response_b": row["conversation_b"]}
    if row.get("winner") is None:
        return ours
    if row["winner"] not in _ARENA:
        raise RecordError(f"key 'winner' is {quoted(row['winner'])}, none of {', '.join(_ARENA)}")
    return ours | {"label": _ARENA[row["winner"]]}


def _arena_turns(row: Row) -> Row:
    """Arena's layout of single turns: the prompt and both responses are JSON lists, one text per turn."""
    turns = {name: _texts(row.get(name), name) for name in ("prompt", "response_a", "response_b")}
    if len({len(each) for each in turns.values()}) != 1:
        raise RecordError("keys 'prompt', 'response_a' and 'response_b' have different numbers of turns")
    votes = {name: row.get(f"winner_{name}") for name in ("model_a", "model_b", "tie")}
    won = [name for name, vote in votes.items() if vote in (1, "1", True, 1.0, "true", "True")]
    if len(won) != 1:
        raise RecordError("not one of 'winner_model_a', 'winner_model_b' and 'winner_tie' is 1")
    ours = without(row, "prompt", "response_a", "response_b", *(f"winner_{name}" for name in votes))
    for name in ("response_a", "response_b"):
        ours[name] = [
            {"role": role, "content": text}
            for pair in zip(turns["prompt"], turns[name], strict=True)
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    return ours | {"label": _ARENA[won[0]]}


def _texts(value: object, key: str) -> list[Any]:
    try:
        texts = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not texts:
        raise RecordError(f"key {key!r} is {quoted(value)}, not a list with a text for each turn")
    return texts


def _shp(row: Row) -> Row:
    """Stanford Human Preferences: ``labels`` is 1 where the first response is preferred."""
    ours = without(row, "history", "human_ref_A", "human_ref_B", "labels", "score_A", "score_B")
    ours |= {"prompt": row["history"], "response_a": row["human_ref_A"], "response_b": row["human_ref_B"]}
    if row["labels"] not in (0, 1, "0", "1") or isinstance(row["labels"], bool):
        raise RecordError(f"key 'labels' is {quoted(row['labels'])}, neither 0 nor 1")
    scores = {f"score_{side}": row.get(f"score_{side.upper()}") for side in "ab"}
    return ours | {"label": "ba"[int(row["labels"])]} | scores


def _verl(row: Row) -> Row:
    """verl's layout (DAPO-Math, Skywork-OR1): the reference stands in ``reward_model``."""
    reference = row["reward_model"]
    if isinstance(reference, str) and reference.lstrip().startswith("{"):
        reference = parse_object(reference, "reward_model")
    if not isinstance(reference, Mapping) or "chosen" in row:
        return row
    if reference.get("ground_truth") is None:
        raise RecordError("key 'reward_model' has no 'ground_truth', so that nothing could be verified")
    ours = without(row, "reward_model")
    if str(row.get("ability", "")).casefold() in ("code", "coding"):
        return with_tests(ours | {"input_output": reference["ground_truth"]})
    truth = reference["ground_truth"]
    if isinstance(truth, str) and truth.lstrip().startswith('["'):  # Skywork-OR1 has a list as JSON text
        truth = parse_object(truth, "ground_truth")
    if isinstance(truth, list | tuple) and len(truth) == 1:
        truth = truth[0]
    if isinstance(truth, list | tuple):
        raise RecordError(f"the 'ground_truth' in 'reward_model' has {len(truth)} answers; keep one, as text")
    if ours.get("answer") not in (None, truth):
        raise RecordError("key 'answer' and the 'ground_truth' in 'reward_model' differ; keep the right one")
    return ours | {"answer": truth}


def _input(row: Row) -> Row:
    """A prompt in ``input``, without an instruction in front of it (the pairs of distilabel)."""
    if any(row.get(name) not in (None, "") for name in ("prompt", "question", "instruction", "query", "problem")):
        return row
    return without(row, "input") | {"prompt": row["input"]}


def _constraints(row: Row) -> Row:
    """A row of IFEval; a file of several sources has empty columns where a row comes from another one."""
    if row["instruction_id_list"] is not None:
        return with_constraints(row)
    rest = without(row, "instruction_id_list", "kwargs")
    return _ground_truth(rest) if rest.get("ground_truth") is not None else rest


def _ground_truth(row: Row) -> Row:
    if is_constraints(row["ground_truth"]):
        return with_ground_truth(row)
    if not isinstance(row["ground_truth"], str | int | float):
        return row  # a column for a reward term
    if row.get("answer") not in (None, row["ground_truth"]):
        raise RecordError("keys 'answer' and 'ground_truth' differ; keep the right one")
    return without(row, "ground_truth") | {"answer": row["ground_truth"]}


_VERDICTS = {
    ("response1", "response2"): "overall_preference",
    ("response_1", "response_2"): "preference_strength",
    ("response_0", "response_1"): "better_response_id",
    ("conversation_a", "conversation_b"): "winner",
}
_LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[Row], Row]], ...] = (
    (("response1", "response2"), _helpsteer3),
    (("response_1", "response_2"), _helpsteer2),
    (("response_0", "response_1"), _saferlhf),
    (("conversation_a", "conversation_b"), _arena),
    (("response_a", "response_b", "winner_model_a", "winner_model_b"), _arena_turns),
    (("history", "human_ref_A", "human_ref_B", "labels"), _shp),
    (("prompt", "reward_model"), _verl),
    (("input", "preferred_output", "non_preferred_output"), openai_preferences),
    (("input", "chosen", "rejected"), _input),
    (("prompt", "response", "response_harm_label"), wildguard),
    (("prompt", "response", "prompt_label", "response_label"), aegis),
    (("problem", "expected_answer"), expected_answer),
    (("question_content", "public_test_cases"), with_tests),
    (("description", "public_tests"), with_contest_tests),
    (("question", "input_output"), with_tests),
    (("prompt", "input_output"), with_tests),
    (("instruction_id_list",), _constraints),
    (("ground_truth",), _ground_truth),
)
