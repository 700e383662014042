"""General instructions: five families of prompts whose fulfilment a program can check, and good replies to them.

A family is a few prompt templates, a draw of their slots and a good reply. What makes a reply worse lives in
:mod:`~reward_models.data.synthetic.defects`, what makes it good by definition in
:mod:`~reward_models.data.synthetic.gold`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from random import Random

from reward_models.data.synthetic import lexicon
from reward_models.data.synthetic.lexicon import CLASS_FORMS, CLASSES, NUMBER_WORDS, OPPOSITE, number_word
from reward_models.data.synthetic.templates import Slots, Task, Template, read_task

NOTES: dict[str, tuple[str, ...]] = {
    "Thank": ("thank you for the {gift}", "many thanks for the {gift}"),
    "Invite": ("please come and see the {gift}", "you are invited to see the {gift}"),
    "Refuse": ("no thank you, I do not need the {gift}", "sadly I can not take the {gift}"),
    "Console": ("I am sorry about the {gift}", "I feel bad about the {gift}"),
}


@dataclass(frozen=True)
class Family:
    """One kind of instruction: how a prompt is drawn and how it is answered well."""

    templates: tuple[Template, ...]
    draw: Callable[[Random], Slots]
    answer: Callable[[Random, Slots], str]
    weight: int = 1


def _templates(*texts: str) -> tuple[Template, ...]:
    return tuple(Template(text) for text in texts)


def counted(count: int, name: str) -> tuple[str, str]:
    """A number word and the class name in the matching form: ``("two", "fruits")``."""
    return number_word(count), name if count == 1 else name + "s"


def number_of(word: str) -> int:
    """The value of a number word or of digits; -1 for anything else."""
    if word in NUMBER_WORDS:
        return NUMBER_WORDS.index(word)
    return int(word) if word.isdecimal() and len(word) < 10 else -1


def join_words(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def sentence(text: str) -> str:
    """``text`` with a capital and a full stop."""
    return text[0].upper() + text[1:] + "."


def _draw_name(rng: Random) -> Slots:
    first, second = rng.sample(sorted(CLASSES), 2)
    count = rng.choice((1, 2, 2, 3))
    other = rng.choice((1, 2)) if count < 3 else 1
    slots = dict(zip(("count", "kind"), counted(count, first), strict=True))
    slots |= dict(zip(("other", "sort"), counted(other, second), strict=True))
    return slots | {"ban": rng.choice(CLASSES[first])}


def named_words(rng: Random, slots: Slots) -> list[str]:
    """Words a naming task asks for, first class first."""
    pool = [word for word in CLASSES[CLASS_FORMS[slots["kind"]]] if word != slots.get("ban")]
    first = rng.sample(pool, number_of(slots["count"]))
    return first + rng.sample(CLASSES[CLASS_FORMS[slots["sort"]]], number_of(slots["other"]))


def _draw_opposite(rng: Random) -> Slots:
    word, other = rng.sample(sorted(OPPOSITE), 2)
    while other == OPPOSITE[word]:
        other = rng.choice(sorted(OPPOSITE))
    return {"word": word, "other": other}


def _draw_note(rng: Random) -> Slots:
    return {
        "note": rng.choice(sorted(NOTES)),
        "name": rng.choice(lexicon.NAMES),
        "gift": rng.choice(lexicon.GIFTS),
    }


def _draw_story(rng: Random) -> Slots:
    return {
        "animal": rng.choice(CLASSES["animal"]),
        "place": rng.choice(lexicon.PLACES),
        "start": rng.choice(lexicon.START_WORDS),
        "end": rng.choice(lexicon.END_WORDS),
    }


def story(rng: Random, slots: Slots) -> str:
    """One sentence about the animal and the place, with the start or end word the prompt asks for."""
    text = f"the {slots['animal']} {rng.choice(lexicon.DEEDS)} to the {slots['place']}"
    if "start" in slots:
        text = f"{slots['start']} {text}"
    if "end" in slots:
        text = f"{text} {slots['end']}"
    return sentence(text)


def _draw_pick(rng: Random) -> Slots:
    kinds = rng.sample(sorted(CLASSES), 3)
    words = [rng.choice(CLASSES[kind]) for kind in kinds]
    return {"kind": rng.choice(kinds), "list": ", ".join(words)}


def picked(slots: Slots) -> str:
    """The one listed word of the class asked for."""
    return next((word for word in slots["list"].split(", ") if lexicon.CLASS_OF[word] == slots["kind"]), "")


def _either(rng: Random, *texts: str) -> str:
    return rng.choice(texts)


FAMILIES: dict[str, Family] = {
    "name": Family(
        _templates(
            "Name {count} {kind} and {other} {sort}.",
            "Please list {count} {kind} and {other} {sort}.",
            "Name {count} {kind} but not {ban}, and {other} {sort}.",
            "Please list {count} {kind} but not {ban}, and {other} {sort}.",
        ),
        _draw_name,
        lambda rng, slots: sentence(join_words(named_words(rng, slots))),
        weight=4,
    ),
    "opposite": Family(
        _templates(
            "Give the opposite of {word} and of {other}.", "Which words mean the opposite of {word} and {other}?"
        ),
        _draw_opposite,
        lambda rng, slots: _either(
            rng,
            f"The opposites are {OPPOSITE[slots['word']]} and {OPPOSITE[slots['other']]}.",
            f"They are {OPPOSITE[slots['word']]} and {OPPOSITE[slots['other']]}.",
        ),
        weight=2,
    ),
    "note": Family(
        _templates("{note} {name} in a short note about the {gift}.", "Write a note about the {gift}. {note} {name}."),
        _draw_note,
        lambda rng, slots: f"Dear {slots['name']}, {rng.choice(NOTES[slots['note']]).format(**slots)}.",
        weight=4,
    ),
    "story": Family(
        _templates(
            "Write one sentence about a {animal} and a {place}. Start with the word {start}.",
            "Write one sentence about a {animal} and a {place}. End with the word {end}.",
            "Start with the word {start} and write one sentence about a {animal} and a {place}.",
        ),
        _draw_story,
        story,
        weight=3,
    ),
    "pick": Family(
        _templates("Which of these is a kind of {kind}: {list}?", "Pick the {kind} from this list: {list}."),
        _draw_pick,
        lambda rng, slots: _either(rng, f"The {slots['kind']} is {picked(slots)}.", f"It is {picked(slots)}."),
        weight=3,
    ),
}

_TEMPLATES = {name: family.templates for name, family in FAMILIES.items()}
_WEIGHTED = [name for name, family in FAMILIES.items() for _ in range(family.weight)]

_COUNTS = ("one", "two", "three", "four", "five")
_ALLOWED: dict[str, Container[str]] = {
    "kind": CLASS_FORMS,
    "sort": CLASS_FORMS,
    "count": _COUNTS,
    "other": {*_COUNTS, *OPPOSITE},
    "list": lexicon.CLASS_OF,
    "note": NOTES,
    "word": {*lexicon.CLASS_OF, *OPPOSITE},
}


def draw_task(rng: Random, family: str | None = None) -> Task:
    """A random general instruction, of one family if it is named."""
    name = family or rng.choice(_WEIGHTED)
    template = rng.choice(FAMILIES[name].templates)
    prompt = template.fill(FAMILIES[name].draw(rng))
    slots = template.parse(prompt)
    if slots is None:
        raise ValueError(f"template {template.text!r} cannot read back {prompt!r}")
    return Task(name, slots, prompt)


def _known(slots: Slots) -> bool:
    return all(
        word in _ALLOWED[name] for name, value in slots.items() if name in _ALLOWED for word in value.split(", ")
    )


def parse(prompt: str) -> Task | None:
    """The task behind a general instruction, or ``None`` if this package did not write it."""
    task = read_task(_TEMPLATES, prompt)
    return task if task is not None and _known(task.slots) else None


def good_reply(rng: Random, task: Task) -> str:
    """A reply that fulfils every constraint, without any filler."""
    return FAMILIES[task.family].answer(rng, task.slots)
