"""General instructions: ten families of prompts whose fulfilment a program can check, and good replies to them.

A family is a few prompt templates, a draw of their slots and a good reply. What makes a reply worse lives in
:mod:`~reward_models.data.synthetic.defects`, what makes it good by definition in
:mod:`~reward_models.data.synthetic.gold`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from random import Random

from reward_models.data.synthetic import lexicon
from reward_models.data.synthetic.lexicon import CLASS_FORMS, CLASSES, NUMBER_WORDS, OPPOSITE, UNITS, number_word
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


def _draw_list(rng: Random) -> Slots:
    words = [word for name in CLASSES for word in CLASSES[name]]
    return {"list": ", ".join(rng.sample(words, rng.choice((3, 3, 4))))}


def ordered(slots: Slots) -> list[str]:
    """The words of an ordering task in the order asked for."""
    words = slots["list"].split(", ")
    return sorted(words) if slots["how"] == "sorted" else words[::-1]


def _draw_order(rng: Random) -> Slots:
    return _draw_list(rng) | {"how": rng.choice(("sorted", "backwards"))}


def _draw_repeat(rng: Random) -> Slots:
    word = rng.choice(CLASSES[rng.choice(sorted(CLASSES))])
    return {"word": word, "count": number_word(rng.randint(2, 5)), "name": rng.choice(lexicon.NAMES)}


def _draw_lookup(rng: Random) -> Slots:
    names = rng.sample(lexicon.NAMES, 2)
    colours = rng.sample(CLASSES["colour"], 2)
    which = rng.randrange(2)
    return {
        "first": names[0],
        "second": names[1],
        "tint": colours[0],
        "shade": colours[1],
        "gift": rng.choice(lexicon.GIFTS),
        "asked": names[which],
    }


def looked_up(slots: Slots) -> str:
    """The colour the passage gives for the person asked about."""
    return slots["tint"] if slots["asked"] == slots["first"] else slots["shade"]


def _draw_capital(rng: Random) -> Slots:
    lands, towns = rng.sample(lexicon.LANDS, 2), rng.sample(lexicon.TOWNS, 2)
    slots = {"land": lands[0], "town": towns[0], "realm": lands[1], "city": towns[1]}
    return slots | {"asked": rng.choice(lands)}


def capital(slots: Slots) -> str:
    """The capital the passage gives for the land asked about."""
    return slots["town"] if slots["asked"] == slots["land"] else slots["city"]


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


def _draw_count(rng: Random) -> Slots:
    kind, other = rng.sample(sorted(CLASSES), 2)
    count = rng.randint(1, 4)
    words = rng.sample(CLASSES[kind], count) + rng.sample(CLASSES[other], rng.randint(1, 5 - count))
    rng.shuffle(words)
    return {"kind": kind + "s", "list": ", ".join(words)}


def class_count(slots: Slots) -> int:
    """Number of the listed words that belong to the class asked about."""
    return sum(lexicon.CLASS_OF.get(word) == CLASS_FORMS[slots["kind"]] for word in slots["list"].split(", "))


def _draw_convert(rng: Random) -> Slots:
    unit = rng.choice(sorted(UNITS))
    return {"n": str(rng.randint(2, 9)), "unit": unit, "part": UNITS[unit][0], "name": rng.choice(lexicon.NAMES)}


def converted(slots: Slots) -> int:
    """The number of smaller units in the amount asked about."""
    return int(slots["n"]) * UNITS[slots["unit"]][1]


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
    "order": Family(
        _templates("Write this list {how}: {list}.", "Here is a list: {list}. Please write it {how}."),
        _draw_order,
        lambda rng, slots: sentence(", ".join(ordered(slots))),
    ),
    "repeat": Family(
        _templates(
            "Repeat the word {word} {count} times.",
            "Write {word} exactly {count} times for {name}.",
        ),
        _draw_repeat,
        lambda rng, slots: sentence(" ".join([slots["word"]] * number_of(slots["count"]))),
    ),
    "lookup": Family(
        _templates(
            "{first} has a {tint} {gift}. {second} has a {shade} {gift}. What colour is the {gift} of {asked}?",
            "The {gift} of {first} is {tint}. The {gift} of {second} is {shade}. Which colour does {asked} have?",
        ),
        _draw_lookup,
        lambda rng, slots: _either(
            rng,
            f"The {slots['gift']} of {slots['asked']} is {looked_up(slots)}.",
            f"{slots['asked']} has a {looked_up(slots)} {slots['gift']}.",
        ),
        weight=1,
    ),
    "capital": Family(
        _templates(
            "{town} is the capital of {land}. {city} is the capital of {realm}. What is the capital of {asked}?",
            "The capital of {land} is {town}. The capital of {realm} is {city}. Name the capital of {asked}.",
        ),
        _draw_capital,
        lambda rng, slots: _either(
            rng,
            f"The capital of {slots['asked']} is {capital(slots)}.",
            f"{capital(slots)} is the capital of {slots['asked']}.",
        ),
        weight=1,
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
    "count": Family(
        _templates("How many {kind} are in this list: {list}?", "Count the {kind} here: {list}."),
        _draw_count,
        lambda rng, slots: _either(
            rng,
            f"The list has {' '.join(counted(class_count(slots), CLASS_FORMS[slots['kind']]))}.",
            f"I count {' '.join(counted(class_count(slots), CLASS_FORMS[slots['kind']]))}.",
        ),
        weight=2,
    ),
    "convert": Family(
        _templates(
            "How many {part} are {n} {unit}?",
            "{name} has {n} {unit}. Give that in {part}.",
            "Tell {name} how many {part} are in {n} {unit}.",
        ),
        _draw_convert,
        lambda rng, slots: _either(
            rng,
            f"{slots['n']} {slots['unit']} are {converted(slots)} {slots['part']}.",
            f"That makes {converted(slots)} {slots['part']}.",
        ),
        weight=2,
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
    "unit": UNITS,
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
