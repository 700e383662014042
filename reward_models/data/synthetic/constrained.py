"""Prompts with one to three constraints that a program can check (``synthetic:instructions``).

A request is put together from templates, and constraints from :data:`TEMPLATES`, under the ids and values of IFEval
and of the training set of IFBench. Of each group at most one constraint is drawn, and groups that could contradict each
other are not drawn together, so that every prompt can be answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Literal

from reward_models.data.records import Message, Prompt
from reward_models.data.synthetic.templates import split_of

SIZES = {"train": 3000, "test": 300}
TOPICS = (
    *("a lighthouse by the sea", "the first day at a new school", "baking bread", "a train journey at night"),
    *("keeping bees", "the history of the bicycle", "a walk in the mountains", "learning to swim", "a village market"),
    *("growing tomatoes on a balcony", "the invention of paper", "a lost dog that comes home", "repairing a clock"),
    *("the seasons of a forest", "a visit to the museum", "packing for a long voyage", "writing letters by hand"),
)
REQUESTS = (
    *("Write a short text about {topic}.", "Tell a story about {topic}.", "Explain {topic} to a child."),
    *("Write a letter to a friend about {topic}.", "Write a blog post about {topic}.", "Describe {topic}."),
    *("Give advice about {topic}.", "Write an introduction to a talk about {topic}."),
)
KEYWORDS = (
    *(
        "river",
        "copper",
        "window",
        "morning",
        "garden",
        "silver",
        "bridge",
        "winter",
        "music",
        "paper",
        "orange",
        "basket",
    ),
    *("harbour", "candle", "mirror", "letter"),
)
END_PHRASES = ("That is all I know.", "Is there anything else?", "Thank you for reading.", "The end.")
WORD_NUMBERS, SENTENCE_NUMBERS = (40, 60, 80, 100, 120), (2, 3, 4, 5, 6)

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """One constraint: its id, the text that asks for it, and how its values are drawn.

    Attributes:
        group: of which a prompt has one at most.
        apart: groups with which it is not drawn: they could contradict it.
    """

    id: str
    group: str
    text: str
    draw: Callable[[Random], Values] = lambda rng: {}
    apart: frozenset[str] = frozenset()


def _some(low: int, high: int, name: str) -> Callable[[Random], Values]:
    return lambda rng: {name: rng.randint(low, high)}


def _words(name: str, count: int) -> Callable[[Random], Values]:
    return lambda rng: {name: rng.sample(KEYWORDS, count)}


def _word(name: str) -> Callable[[Random], Values]:
    return lambda rng: {name: rng.choice(KEYWORDS)}


def _relation(name: str, numbers: tuple[int, ...]) -> Callable[[Random], Values]:
    return lambda rng: {name: rng.choice(numbers), "relation": rng.choice(("at least", "less than"))}


LAYOUT, CASE, ENDS = frozenset({"layout"}), frozenset({"case"}), frozenset({"begin", "end"})
TEMPLATES = (
    Template("keywords:existence", "words", "Use the words {keywords}.", _words("keywords", 2)),
    Template(
        "keywords:forbidden_words",
        "forbidden",
        "Do not use the words {forbidden_words}.",
        _words("forbidden_words", 2),
        frozenset({"words"}),
    ),
    Template(
        "keywords:frequency",
        "words",
        'Use the word "{keyword}" at least {frequency} times.',
        lambda rng: {"keyword": rng.choice(KEYWORDS), "frequency": rng.randint(2, 4), "relation": "at least"},
    ),
    Template("keywords:word_once", "words", 'Use the word "{keyword}" exactly once.', _word("keyword")),
    Template(
        "length_constraints:number_words",
        "length",
        "Answer with {relation} {num_words} words.",
        _relation("num_words", WORD_NUMBERS),
    ),
    Template(
        "length_constraints:number_sentences",
        "length",
        "Answer with {relation} {num_sentences} sentences.",
        _relation("num_sentences", SENTENCE_NUMBERS),
        LAYOUT,
    ),
    Template(
        "change_case:english_capital", "case", "Write in English, and in capital letters only.", apart=LAYOUT | ENDS
    ),
    Template(
        "change_case:english_lowercase", "case", "Write in English, and in small letters only.", apart=LAYOUT | ENDS
    ),
    Template("punctuation:no_comma", "sign", "Do not use any commas.", apart=LAYOUT),
    Template("punctuation:punctuation_exclamation", "sign", "Do not use exclamation marks."),
    Template(
        "detectable_format:number_bullet_lists",
        "layout",
        "Give exactly {num_bullets} bullet points that begin with *.",
        _some(2, 5, "num_bullets"),
        CASE | ENDS,
    ),
    Template(
        "detectable_format:number_highlighted_sections",
        "layout",
        "Highlight at least {num_highlights} parts, like *this*.",
        _some(1, 3, "num_highlights"),
        CASE | ENDS,
    ),
    Template(
        "length_constraints:number_paragraphs",
        "layout",
        "Write {num_paragraphs} paragraphs with *** between them.",
        _some(2, 4, "num_paragraphs"),
        CASE | ENDS,
    ),
    Template(
        "paragraphs:paragraphs2", "layout", "Write two paragraphs with a blank line between them.", apart=CASE | ENDS
    ),
    Template(
        "combination:two_responses", "layout", "Give two different answers with ****** between them.", apart=CASE | ENDS
    ),
    Template(
        "detectable_content:number_placeholders",
        "content",
        "Use at least {num_placeholders} placeholders in square brackets, like [address].",
        _some(1, 3, "num_placeholders"),
        CASE,
    ),
    Template(
        "detectable_format:title",
        "begin",
        "Begin with a title in double angular brackets, like <<a title>>.",
        apart=CASE | LAYOUT,
    ),
    Template(
        "first_word:first_word_answer",
        "begin",
        "Begin your answer with the word {first_word}.",
        _word("first_word"),
        CASE | LAYOUT | {"words", "forbidden"},
    ),
    Template(
        "startend:end_checker",
        "end",
        'End your answer with "{end_phrase}"',
        lambda rng: {"end_phrase": rng.choice(END_PHRASES)},
        CASE | LAYOUT | {"sign"},
    ),
    Template(
        "last_word:last_word_answer",
        "end",
        "The last word of your answer must be {last_word}.",
        _word("last_word"),
        CASE | LAYOUT | {"words", "forbidden"},
    ),
)


def constrained_prompts(split: Literal["train", "test"], n: int | None = None, seed: int = 0) -> Iterator[Prompt]:
    """Prompts, each once, with their constraints in the column ``instructions``.

    Args:
        n: how many; ``None`` gives 3,000 for training and 300 for testing.
        seed: another seed is another data set of the same distribution.
    """
    if split not in SIZES:
        raise ValueError(f"split {split!r} is none of {', '.join(SIZES)}")
    return islice(_prompts(split, seed), SIZES[split] if n is None else n)


def _prompts(split: str, seed: int) -> Iterator[Prompt]:
    rng = Random(f"synthetic-instructions-{split}-{seed}")
    seen: set[str] = set()
    while True:
        request = rng.choice(REQUESTS).format(topic=rng.choice(TOPICS))
        chosen = _drawn(rng, rng.randint(1, 3))
        text = " ".join([request, *(template.text.format(**_shown(values)) for template, values in chosen)])
        if split_of(text) != split or text in seen:
            continue
        seen.add(text)
        yield Prompt(
            prompt=(Message("user", text),),
            domain="reasoning",
            language="en",
            columns={
                "verifier": "instructions",
                "instructions": [{"id": template.id, "kwargs": values} for template, values in chosen],
                "level": len(chosen) - 1,
            },
            id=f"instructions-{split}-{len(seen) - 1:06d}",
            source="synthetic",
        )


def _drawn(rng: Random, count: int) -> list[tuple[Template, Values]]:
    chosen: list[tuple[Template, Values]] = []
    for template in rng.sample(TEMPLATES, len(TEMPLATES)):
        if len(chosen) < count and all(_together(template, other) for other, _ in chosen):
            chosen.append((template, template.draw(rng)))
    return chosen


def _together(one: Template, other: Template) -> bool:
    return one.group != other.group and one.group not in other.apart and other.group not in one.apart


def _shown(values: Values) -> dict[str, Any]:
    return {name: " and ".join(value) if isinstance(value, list) else value for name, value in values.items()}
