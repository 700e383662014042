"""Multiple choice: the one letter that an answer names.

A letter counts if it stands alone as the answer, or if words announce it. A letter that is denied ("not B", "B is
wrong", "I rule out B") does not count, and an answer that names several letters names none.
"""

from __future__ import annotations

import unicodedata

import regex

from align.rewards.characters import without_invisible
from align.rewards.offered import REPORTED

WRAPPED = regex.compile(
    r"\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it|sf)|boxed|fbox|mbox|emph|underline)\s*\{([^{}]*)\}"
)
MARKUP = regex.compile(
    r"\*\*|__|`|\\\(|\\\)|\\\[|\\\]|\$|\\[,;:! ]|(?<=\w)~(?=\w)|^\s*#+(?=\s)|\\(?:left|right|quad)(?![A-Za-z])",
    regex.MULTILINE,
)
ALONE = regex.compile(r"[\s\"'*(\[{<→⇒=>]*([A-Za-z])[\s\"'*)\]}>.:,!。．，]*")
# A letter, what closes it, and the text of the option.
LABELLED = regex.compile(
    r"[\s*]*(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])\s?[).:,、]|([A-Z])(?=\s+(?:[-\d$(]|because\b|since\b)))(?:\s*(?P<text>.*))?",
    regex.DOTALL,
)
OPTION = r"\(?\s*[\"'*]{0,3}([A-Z])[\"'*]{0,3}(?![\w'’])\s*\)?"
EASTERN_OPTION = r"\(?\s*([A-Z])(?![A-Za-z0-9_'’])\s*\)?"  # a letter of the text may follow: 选项B正确
LOWER = r"(?:\(([a-z])\)|([b-z])(?=[\s.)]*(?:$|\n)))"
_NOUNS = r"answer|ans\.?|option|choice|alternative|respuesta|réponse|antwort|ответ|risposta|resposta"
_VERBS = r"is|are|was|would\s+be|must\s+(?:therefore\s+)?be|should\s+(?:therefore\s+)?be|will\s+be|es|est|ist|è|é"
WORDS_BEFORE = (
    rf"(?:\b(?i:{_NOUNS})s?\b(?:\s+(?i:{_VERBS}|choice|option|letter|correcta|correcte|correct))*"
    rf"|\b(?i:letter|(?:correct|right|best)\s+one)(?:\s+(?i:is|must\s+be)|\s*:)"
    rf"|\b(?i:it|this|that|which)(?:\s+(?i:is|must\s+be|would\s+be)|'s|’s)"
    r"|\b(?i:choose|pick|select|chose|go\s+with|going\s+with|say)\b)"
    r"(?:\s+(?i:option|answer|choice|letter|clearly|therefore|thus|definitely|then|simply))*[\s:=*(\[\"'–→⇒>-]{0,8}"
)
EASTERN_BEFORE = (
    r"(?:答案|选项|選項|选择|選擇|应选|應選|故选|故選|选|選|答え|답|정답)\s*(?:应该|應該)?\s*"
    r"(?:是|为|為|は|는|은)?\s*[:：]?\s*"
)
CONCLUDED = rf"\b(?i:so|hence|thus|therefore|clearly|obviously|definitely)\b,?\s*{OPTION}(?=[\s.*]*$)"
ONLY = rf"\b(?i:only)\s+(?:(?i:option|answer|choice)\s+)?{OPTION}"
LEFT = rf"\b(?i:leaves|leaving)(?:\s+(?i:us\s+with|only|just|option|answer|choice))*\s+{OPTION}(?=[\s.*]*$|\s*[,;])"
ANNOUNCED = regex.compile(
    rf"{CONCLUDED}|{ONLY}|{LEFT}|{WORDS_BEFORE}(?:{OPTION}|{LOWER})|{EASTERN_BEFORE}{EASTERN_OPTION}"
)
PRAISED = regex.compile(
    rf"(?<!\w){OPTION}\s+(?:is|must\s+be|would\s+be)\s+(?:the\s+)?(?:(?:only|best|most)\s+)?(?:correct|right|true|answer|one|best)\b"
)
# The clause ends where what is said of one letter ends.
CLAUSE = regex.compile(
    r"[.!?;。！？；\n]+(?=\s|$)|[,，]\s*|\b(?:but|so|because|since|while|whereas|therefore|thus|hence)\b|因为|所以|而|但"
)
SENTENCE = regex.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
DENIED = regex.compile(
    r"\b(?:not|cannot|never|neither|nor|no|none|without|except|excluding|rather|instead|unlike|unless|wrong|incorrect|false|invalid|"
    r"impossible|unlikely|(?<!beyond\s)(?<!beyond\sa\s)doubt(?:s|ed|ful)?|"
    r"mistake|mistaken|trap|distractor|naive|tempting|consider(?:ed|ing)?|compare[ds]?|check(?:ed|ing)?|examine|look\s+at|eliminate[sd]?|eliminating|discard(?:ed|s)?|reject(?:ed|s)?|dismiss(?:ed)?|(?:rule[sd]?|ruling)\s+"
    r"(?:it\s+)?out|exclude[sd]?|avoid|fail(?:s|ed)?|too\s+\w+|might|may|maybe|perhaps|possibly|could)\b|n't\b|n’t\b|不|非|别|別|勿|错|錯|排除|误|誤|也许|可能",
    regex.IGNORECASE,
)
SUPPOSED = regex.compile(
    r"\b(?:suppose|supposing|assume|assuming|imagine|if|whether|unless|nobody)\b", regex.IGNORECASE
)
CONTRASTED = regex.compile(
    rf"\s*(?i:not)\s+(?:(?i:option)\s+)?\(?[A-Z]\)?\s*,?\s+(?i:but)\s+(?:(?i:rather|option)\s+)*{OPTION}[\s.!*]*"
)
# Behind the letter: another one that is offered beside it.
RIVAL = regex.compile(
    r"\b(?i:alternatively|otherwise|failing\s+that|maybe|perhaps|possibly|or|or\s+else|no|wait|actually|sorry|correction)\b[\s,:]*(?:(?i:it|is|option|answer|choice|the)\s+)*\(?([A-Z])(?![\w'’])"
    r"(?!\s+(?:is|was)\s+(?:wrong|not|in|false))"
    r"|(?<![\w'’])\(?([A-Z])\)?\s+(?:(?:is|are|would\s+be|could\s+be|may\s+be|might\s+be)\s+(?:(?:also|equally|as\s+well|possible|better|preferable)\b|too\b(?!\s+\w))"
    r"|(?:also\s+)?(?:works|fits|holds)\b|also\b)"
)
# The letter holds under a condition.
CONDITION = regex.compile(
    r"[\s,(*)]*\b(?:if|when|unless|provided|assuming|otherwise|for|sometimes|partly)\b|[\s,]*(?:如果|当)",
    regex.IGNORECASE,
)
OFFERED = regex.compile(r"\b(?:alternatively|otherwise|maybe|perhaps|possibly|or|else)\b|或", regex.IGNORECASE)
OR_NOT = regex.compile(r"\bor\s+not\b", regex.IGNORECASE)
# "option B" without a verb in front: a mention, unless the sentence ends there or goes on to say that it is right.
MENTION = regex.compile(
    r"\s*(?:option|choice|answer|alternative|letter)\s*[(\[\"'*]{0,3}[A-Z][\"'*]{0,3}\s*\)?\s*", regex.IGNORECASE
)
ASSERTED = regex.compile(
    r"[\s)*\]\"'”]*(?:$|[.,;:!)—–-]|(?:(?:is|must\s+be|would\s+be|has\s+to\s+be)\s+(?:\w+ly\s+)?(?:the\s+)?"
    r"(?:(?:only|best|most)\s+)?(?:correct|right|true|answer|one|best|appropriate|suitable|accurate|valid|supported|consistent)|"
    r"because|since|as|for|matches|works|fits|holds|follows|satisfies|answers)\b)",
    regex.IGNORECASE,
)
# In front of a letter, in its sentence: somebody else's choice; the next one to be looked at.
OTHERS = regex.compile(rf"\b{REPORTED}[\s:(*]*$", regex.IGNORECASE)
NEXT = regex.compile(r"\s*(?:next|now|then),?\s*", regex.IGNORECASE)
# A letter that is asked about.
ASKED = regex.compile(r"[\s*)\]\"'”’]*[?？]")
# Of a letter elsewhere in a labelled answer.
RIGHT = regex.compile(
    rf"(?<!\w){OPTION}\s+(?:is|must\s+be|would\s+be)\s+(?:the\s+)?(?:(?:only|best|most)\s+)?"
    r"(?:correct|right|answer|best)\b"
)
# Another letter right behind a label: [B][C], B -> C.
NAMED_BEHIND = regex.compile(r"\s*(?:\(([A-Z])\)|\[([A-Z])\]|(?:[-=]>|→|⇒)\s*([A-Z])\b)")
# One more letter right behind: A, B or A/B or AB or A B.
MORE = regex.compile(
    r"[\s,，、;/&|+]*(?:\b(?:or|and|and/or)\b|或|和|以及)?[\s,，、;/&|+(]*(?<![A-Za-z])([A-Z])(?![A-Za-z0-9_'’])|[A-Z](?![a-z])"
)


def chosen_letter(text: str) -> str | None:
    """The letter in upper case, or ``None`` if the text names none, or several.

    A letter that is the whole text, or begins it as a label, counts first; then the last one announced; then one that
    stands alone on a line.
    """
    text = plain(text)
    if found := CONTRASTED.fullmatch(text):
        return str(found[1])
    whole = _labelled(text)
    if whole == "" and not OFFERED.search(text):
        whole = _announced(text)  # A, C and D are wrong, so the answer is B
    announced = None if whole is not None else _announced(text)
    letter = whole if whole is not None else announced if announced is not None else _on_a_line(text)
    if not letter or OR_NOT.search(text):
        return None
    said = [m.end() for m in regex.finditer(rf"(?<![\w'’]){letter}(?![\w'’])", text)]
    rivals = {g for m in RIVAL.finditer(text, said[0] if said else 0) for g in m.groups() if g}
    return None if rivals - {letter} else letter


def plain(text: str) -> str:
    """Without markup and invisible characters; full-width and circled letters as plain ones."""
    text = without_invisible(text)
    for _ in range(4):
        text = WRAPPED.sub(r" \1 ", text)
    text = MARKUP.sub(" ", text)
    return "".join(unicodedata.normalize("NFKC", c) if not c.isascii() else c for c in text).strip()


def reference_letter(text: str) -> str | None:
    """The letter of a reference, ``B`` or ``(b)``."""
    found = ALONE.fullmatch(plain(text))
    return found[1].upper() if found else None


def _labelled(text: str) -> str | None:
    """The letter that a text begins with as its answer; ``""`` if it names several; ``None`` if it begins with none."""
    if found := ALONE.fullmatch(text):
        return str(found[1]).upper()
    found = LABELLED.fullmatch(text)
    if found is None:
        return None
    letter = next(group for group in found.groups()[:4] if group).upper()
    rest = found["text"] or ""
    others = {m[1] for m in regex.finditer(r"(?<![\w'’])\(?([A-Z])\s?[).:](?=\s|$)", rest)}
    if behind := NAMED_BEHIND.match(rest):
        others |= {name for name in behind.groups() if name}
    others |= {m[1] for m in RIGHT.finditer(rest)}
    if listed_next := regex.match(r"\s*\(?([A-Z])\)?\s*(?:[,;/&|]|\b(?:and|or)\b)", rest):
        others.add(listed_next[1])  # A, C and D can be ruled out
    others |= {
        m[1]
        for m in regex.finditer(
            r"(?:\bor\b|\band\b|\bis\b|\bthen\b|^|[,;/&|]|\bnot\b|或|和)\s*\(?([A-Z])\)?(?![\w'’])(?!\s+[a-z])", rest
        )
    }
    others |= {m for match in ANNOUNCED.finditer(rest) for m in match.groups() if m}
    listed = regex.fullmatch(r"(?:[\s,.)(;/&|]*+\b[A-Za-z]\b)++[\s,.)(;/&|]*+", rest)
    if others - {letter} or listed or DENIED.match(rest.lstrip(" ([{*-–—\n")):
        return ""
    return letter


def _on_a_line(text: str) -> str | None:
    """The letter that stands alone on lines of the text; without any, the one that lines begin with as a label."""
    lines = [line for line in text.splitlines() if line.strip()]
    alone = {str(found[1]).upper() for line in lines if (found := ALONE.fullmatch(line))}
    if alone:
        return alone.pop() if len(alone) == 1 else None
    ends = {_labelled(line) for line in lines if not DENIED.search(CLAUSE.split(line)[0])} - {None}
    return (ends.pop() or None) if len(ends) == 1 else None


def _announced(text: str) -> str | None:
    """The letter last announced and not denied; ``""`` if the last are several or all denied; ``None`` without any."""
    seen = False
    for sentence in reversed([s for s in SENTENCE.split(text) if s.strip()]):
        found: list[str] = []
        mentioned = [*ANNOUNCED.finditer(sentence), *PRAISED.finditer(sentence)]
        for mention in sorted(mentioned, key=lambda m: m.start()):
            seen = True
            letter = next(g for g in mention.groups() if g).upper()
            before = CLAUSE.split(sentence[: mention.start()])[-1]
            after = CLAUSE.split(sentence[mention.end() :] + " ")[0]
            if (
                SUPPOSED.search(before)
                or DENIED.search(before + " " + mention.group())
                or DENIED.search(after)
                or CONDITION.match(after)
                or ASKED.match(sentence, mention.end())
                or OTHERS.search(sentence[: mention.end()].rstrip(")]*\"' ")[:-1])
                or NEXT.fullmatch(sentence[: mention.start()])
                or (MENTION.fullmatch(mention.group()) and not ASSERTED.match(after))
            ):
                continue
            more = MORE.match(sentence, mention.end())
            if more and not regex.match(r"\s+is\b", sentence[more.end() :]):
                return ""
            found.append(letter)
        if found:
            return found[-1] if len(set(found)) == 1 else ""
    joined = ANNOUNCED.search(text)  # "the answer is", and the letter on the next line
    if not seen and joined and not DENIED.search(joined.group()):
        return next(g for g in joined.groups() if g).upper()
    return "" if seen else None
