"""Defects that make a reply worse: wrong or incomplete for its prompt, with the words that a good reply would use too.

The defects are a ladder. At the bottom the reply alone gives it away (cut short, stuck in a loop), in the middle it
answers something else, at the top one entity is exchanged for another that the prompt mentions as well.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from reward_models.data.synthetic import general, lexicon
from reward_models.data.synthetic.general import NOTES, join_words, named_words, number_of, sentence
from reward_models.data.synthetic.lexicon import CLASS_FORMS, CLASSES, OPPOSITE
from reward_models.data.synthetic.templates import Slots, Task

Defect = Callable[[Random, Slots], str]


def _other(rng: Random, options: tuple[str, ...] | list[str], *taken: str) -> str:
    return rng.choice([option for option in options if option not in taken])


def _item_of_other_class(rng: Random, *kinds: str) -> str:
    return rng.choice(CLASSES[_other(rng, sorted(CLASSES), *kinds)])


def _name_wrong_item(rng: Random, slots: Slots) -> str:
    words = named_words(rng, slots)
    wrong = _item_of_other_class(rng, CLASS_FORMS[slots["kind"]], CLASS_FORMS[slots["sort"]])
    words[rng.randrange(len(words))] = wrong
    return sentence(join_words(words))


def _name_wrong_kinds(rng: Random, slots: Slots) -> str:
    asked = (CLASS_FORMS[slots["kind"]], CLASS_FORMS[slots["sort"]])
    kind, sort = rng.sample([name for name in sorted(CLASSES) if name not in asked], 2)
    return sentence(join_words(named_words(rng, slots | {"kind": kind, "sort": sort})))


def _name_missing(rng: Random, slots: Slots) -> str:
    words = named_words(rng, slots)
    words.pop(rng.randrange(len(words)))
    return sentence(join_words(words))


def _name_extra(rng: Random, slots: Slots) -> str:
    more = str(number_of(slots["other"]) + 2)
    return sentence(join_words(named_words(rng, slots | {"other": more})))


def _name_banned(rng: Random, slots: Slots) -> str:
    words = named_words(rng, slots)
    words[0] = slots.get("ban", words[-1])
    return sentence(join_words(words))


def _opposite_wrong(rng: Random, slots: Slots) -> str:
    right = [OPPOSITE[slots["word"]], OPPOSITE[slots["other"]]]
    right[rng.randrange(2)] = _other(rng, sorted(OPPOSITE), *right, slots["word"], slots["other"])
    return f"The opposites are {right[0]} and {right[1]}."


def _opposite_unrelated(rng: Random, slots: Slots) -> str:
    taken = (slots["word"], slots["other"], OPPOSITE[slots["word"]], OPPOSITE[slots["other"]])
    words = rng.sample([word for word in sorted(OPPOSITE) if word not in taken], 2)
    return f"{rng.choice(('They', 'The opposites'))} are {words[0]} and {words[1]}."


def _opposite_echo(rng: Random, slots: Slots) -> str:
    return f"{rng.choice(('They', 'The opposites'))} are {slots['word']} and {slots['other']}."


def _note(rng: Random, slots: Slots, **changed: str) -> str:
    slots = slots | changed
    return f"Dear {slots['name']}, {rng.choice(NOTES[slots['note']]).format(**slots)}."


def _note_name(rng: Random, slots: Slots) -> str:
    return _note(rng, slots, name=_other(rng, lexicon.NAMES, slots["name"]))


def _note_intent(rng: Random, slots: Slots) -> str:
    return _note(rng, slots, note=_other(rng, sorted(NOTES), slots["note"]))


def _note_gift(rng: Random, slots: Slots) -> str:
    return _note(rng, slots, gift=_other(rng, lexicon.GIFTS, slots["gift"]))


def _story_topic(rng: Random, slots: Slots) -> str:
    animal = _other(rng, CLASSES["animal"], slots["animal"])
    return general.story(rng, slots | {"animal": animal})


def _story_place(rng: Random, slots: Slots) -> str:
    return general.story(rng, slots | {"place": _other(rng, lexicon.PLACES, slots["place"])})


def _story_frame(rng: Random, slots: Slots) -> str:
    slots = dict(slots)
    if "start" in slots:
        slots["start"] = _other(rng, lexicon.START_WORDS, slots["start"])
    else:
        slots["end"] = _other(rng, lexicon.END_WORDS, slots["end"])
    return general.story(rng, slots)


def _story_other_end(rng: Random, slots: Slots) -> str:
    start, end = rng.choice(lexicon.START_WORDS), rng.choice(lexicon.END_WORDS)
    wanted = {"animal": slots["animal"], "place": slots["place"]}
    return general.story(rng, wanted | ({"end": end} if "start" in slots else {"start": start}))


def _story_twice(rng: Random, slots: Slots) -> str:
    return f"{general.story(rng, slots)} {general.story(rng, slots | {'place': rng.choice(lexicon.PLACES)})}"


def _pick_other(rng: Random, slots: Slots) -> str:
    return f"The {slots['kind']} is {_other(rng, slots['list'].split(', '), general.picked(slots))}."


def _pick_outside(rng: Random, slots: Slots) -> str:
    word = _other(rng, CLASSES[slots["kind"]], general.picked(slots))
    return f"It is {word}."


# The first defect of a family is the one a small model can learn soon, since it exchanges one of few attributes; it is
# drawn COMMON times as often as each of the others.
COMMON = 6
DEFECTS: dict[str, dict[str, Defect]] = {
    "name": {
        "wrong kinds": _name_wrong_kinds,
        "wrong item": _name_wrong_item,
        "missing item": _name_missing,
        "extra items": _name_extra,
        "banned item": _name_banned,
    },
    "opposite": {"echo": _opposite_echo, "unrelated": _opposite_unrelated, "one wrong": _opposite_wrong},
    "note": {"other intent": _note_intent, "other name": _note_name, "other thing": _note_gift},
    "story": {
        "constraint ignored": _story_other_end,
        "other word": _story_frame,
        "other topic": _story_topic,
        "other place": _story_place,
        "two sentences": _story_twice,
    },
    "pick": {"other item": _pick_other, "outside item": _pick_outside},
}


def _other_question(rng: Random, task: Task) -> str:
    family = _other(rng, sorted(general.FAMILIES), task.family)
    return general.good_reply(rng, general.draw_task(rng, family))


def _same_kind(rng: Random, task: Task) -> str:
    return general.good_reply(rng, general.draw_task(rng, task.family))


def _cut_short(rng: Random, task: Task) -> str:
    words = general.good_reply(rng, task).split()
    return " ".join(words[: max(1, len(words) // 2)])


def _loop(rng: Random, task: Task) -> str:
    words = general.good_reply(rng, task).split()
    end = rng.randint(1, min(3, len(words)))
    return " ".join(words + words[-end:] * 3)


GENERIC: dict[str, Callable[[Random, Task], str]] = {
    "other question": _other_question,
    "reply to another prompt": _same_kind,
    "cut short": _cut_short,
    "loop": _loop,
}
# In the order of GENERIC; they share what OWN_SHARE leaves.
_GENERIC_WEIGHTS = (38, 5, 11, 11)
OWN_SHARE = 0.36


def worse_reply(rng: Random, task: Task) -> tuple[str, str]:
    """``(name of the defect, reply)``. Chance can make it as good as a good one; the caller compares by the gold."""
    if rng.random() < OWN_SHARE:
        own = list(DEFECTS[task.family])
        name = rng.choices(own, weights=[COMMON] + [1] * (len(own) - 1))[0]
        return name, DEFECTS[task.family][name](rng, task.slots)
    name = rng.choices(sorted(GENERIC), weights=[_WEIGHT_OF[key] for key in sorted(GENERIC)])[0]
    return name, GENERIC[name](rng, task)


_WEIGHT_OF = dict(zip(GENERIC, _GENERIC_WEIGHTS, strict=True))
