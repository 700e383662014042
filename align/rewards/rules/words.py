r"""The words of a text that are of some language: no formulas, variables, units, code, addresses.

What stands in ``$…$``, backticks, code, tags or behind a backslash is left out, and kept apart as hidden words if it
reads as prose: a policy could put a text in another language there.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

import regex

from align.rewards.characters import without_invisible

FEW = 4  # hidden words that are nothing to speak of, and so is a quarter of the visible ones
SHARE = 0.25

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]\p{M}*"
WORD = regex.compile(rf"{UNSPACED}|(?:(?!{UNSPACED})\p{{L}})(?:(?!{UNSPACED})[\p{{L}}\p{{M}}'’\u200c-])*")
SENTENCE_END = regex.compile(r"(?<=[.!?;:])\s+|[。！？；：।॥។\n]+")
LATIN = r"[\p{Latin}]"
PROSE = regex.compile(r"(?<![\\\p{L}])\p{L}[\p{L}\p{M}'’]{2,}")
# Lengths are bounded, and repeats possessive, so that no text costs quadratic time.
HIDING = regex.compile(
    r"(?P<code>```.{0,20000}?(?:```|\Z))"
    r"|(?P<inline>`[^`\n]{1,500}`)"
    r"|(?P<formula>\$\$.{1,2000}?\$\$|\$[^$\n]{1,500}\$|\\\(.{1,1000}?\\\)|\\\[.{1,2000}?\\\])"
    r"|(?P<tag><<[^<>]{0,200}>>|</?[\w ]{1,60}/?>)"
    r"|(?P<address>https?://\S+)"
    r"|(?P<command>\\(?:begin|end)\{[^{}]{0,30}\}|\\[A-Za-z]+)",
    regex.DOTALL,
)
# Words in LaTeX that are text, not commands.
TEXT = regex.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|operatorname|mbox)\s*\{([^{}]{1,300})\}")
SENTENCE = 5  # words in a row, which code has in comments and texts only
RUN_OF_WORDS = regex.compile(r"[\p{L}\p{M}'’]++(?:[ ,]{1,3}[\p{L}\p{M}'’]++)*+")
SYMBOLS = regex.compile(r"[=+^_{}()\[\];<>/*%&|\\]")
_COMMANDS = """
frac dfrac tfrac sqrt times cdot div pm mp leq geq neq approx equiv cong sim propto infty sum prod int iint oint lim
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp max min sup inf det gcd lcm mod bmod pmod binom
left right big Big bigg Bigg text textbf textit mathrm mathbf mathbb mathcal mathfrak operatorname overline
underline hat bar vec tilde dot ddot widehat widetilde overrightarrow alpha beta gamma delta epsilon varepsilon zeta
eta theta vartheta iota kappa lambda rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Sigma
Upsilon Phi Psi Omega partial nabla forall exists emptyset varnothing subset subseteq supset cup cap setminus notin
rightarrow leftarrow Rightarrow Leftarrow Leftrightarrow implies iff mapsto ldots cdots vdots ddots dots quad qquad
hline boxed fbox displaystyle begin end angle triangle circ degree perp parallel because therefore square
blacksquare lfloor rfloor lceil rceil langle rangle mid nmid choose prime star ast bullet oplus otimes wedge vee neg
land lor top bot models vdash limits underset overset stackrel substack cases matrix pmatrix bmatrix vmatrix array
align aligned equation hspace vspace item newline label tag ref cite color textcolor not
"""
COMMANDS = frozenset(_COMMANDS.split())
# Of no language: formulas in plain text.
PLAIN = regex.compile(
    rf"(?<![\d.,])\d[\d.,]*+\s?(?:{LATIN}{{1,3}}|[µμΩ°]\p{{L}}{{0,2}})(?!\p{{Latin}}|\d)"  # 5 cm, 3 µA, 5cm的
    r"|(?<!\p{Latin})\p{Latin}{1,3}\p{M}*(?:/\p{Latin}{1,3})+(?!\p{Latin})"  # km/h
    r"|(?<![\p{Latin}'’])\p{Latin}['′’]?(?![\p{Latin}\p{M}'’])"  # x, f'; also a and I, which changes no share
    r"|[µμ](?=\p{L}?(?!\p{L}))"
    r"|(?<!\p{Greek})\p{Greek}{1,3}(?!\p{Greek})"  # α, αβ, μ: in Greek, too, the shortest words change no share
    r"|(?<!\p{Cyrillic})[ху](?!\p{Cyrillic})(?=\s?[=+*/<>^])"
)
NUMBERED = regex.compile(r"(?<![A-Za-z_\d])[A-Za-z]*+[_\d][A-Za-z_\d]*+")  # x1, my_list
MATHEMATICAL = regex.compile("[\u2100-\u214f\U0001d400-\U0001d7ff]")
APART = regex.compile(r"(?<!\p{L})(?:\p{L}\s{1,3}){5,400}\p{L}(?!\p{L})")  # l e t t e r s
APART_BY_SIGNS = regex.compile(r"(?<!\p{L})(?:\p{L}[\s.,·/_|-]{1,3}){11,400}\p{L}(?!\p{L})")  # l-e-t-t-e-r-s
LETTER = regex.compile(r"\p{L}")
SCRIPT_CHANGE = regex.compile(
    r"(?<=\p{Latin})(?=[^\p{Latin}\p{M}'’\p{Nd}_-])|(?<=[^\p{Latin}\p{M}'’\p{Nd}_-])(?=\p{Latin})"
)
CAPITALS_INSIDE = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})")
ESCAPED = regex.compile(r"(?:\\u[0-9a-fA-F]{4}){3,}+")
SCATTERED = 12  # letters apart, in a row, that are more than points or variables: no language's words
_FUNCTIONS = """
sin cos tan cot sec csc log ln lg lim max min mod gcd lcm exp det arcsin arccos arctan sup inf
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
_TAGS = """
think answer sub sup table code pre div span strong img ref note
"""
TAGS = frozenset(_TAGS.split())
FUNCTION = regex.compile(rf"(?:{'|'.join(sorted(FUNCTIONS, key=len, reverse=True))})[a-z]?")  # sin, sinx
NAMES = regex.compile(
    r"[A-Z]{1,4}|[a-z]{2}|xyz|abc|abcd"
)  # points, variables, abbreviations, in other scripts than Latin


@dataclass(slots=True)
class Words:
    """Words of a text: those of each sentence, those hidden where formulas and code stand, and letters set apart.

    Letters apart are in rows of five, each of which counts as a word of no language.
    """

    sentences: list[list[str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    scattered: list[str] = field(default_factory=list)

    def counted(self) -> list[list[str]]:
        """The sentences, with the hidden words in rows of eight if they are more than can stand in honest formulas."""
        visible = sum(map(len, self.sentences))
        if len(self.hidden) <= max(FEW, SHARE * visible):
            return self.sentences
        return self.sentences + [self.hidden[i : i + 8] for i in range(0, len(self.hidden), 8)]


def words_of(text: str, *, latin: bool) -> Words:
    """Take a text apart.

    Args:
        latin: the target language is written in Latin letters. In others short Latin words are names of points and
            variables.
    """
    words = Words()
    text = _decoded(text)
    text = unicodedata.normalize("NFKC", text) if MATHEMATICAL.search(text) else text

    def apart(found: regex.Match[str]) -> str:
        words.hidden.extend(_hidden(found))
        return " "

    text = HIDING.sub(apart, text)
    text = APART.sub(lambda found: _together("".join(found.group().split()), words.scattered.extend), text)
    text = APART_BY_SIGNS.sub(lambda found: _together("".join(LETTER.findall(found[0])), words.scattered.extend), text)
    text = NUMBERED.sub(lambda found: _numbered(found.group(), words.hidden.append), text)
    for sentence in SENTENCE_END.split(PLAIN.sub(" ", text)):
        found = [part for word in WORD.findall(sentence) for part in _parts(word)]
        if not latin:  # names of points and variables with a particle behind them: ABC에서
            found = [part for word in found for part in SCRIPT_CHANGE.split(word)]
        if found := [word for word in found if latin or not _is_name(word)]:
            words.sentences.append(found)
    return words


def _decoded(text: str) -> str:
    """``text`` without invisible characters but the joiner of Persian words, and with letters that are escaped."""
    text = html.unescape(text) if "&" in text else text
    if "\\u" in text:
        text = ESCAPED.sub(lambda found: "".join(chr(int(code, 16)) for code in found[0].split("\\u")[1:]), text)
    return text if text.isascii() else "\u200c".join(map(without_invisible, text.split("\u200c")))


def _parts(word: str) -> list[str]:
    """The words in one that is glued: by three hyphens or more, or by capital letters."""
    parts = [part for part in word.split("-") if part]
    parts = parts if len(parts) > 3 else [word]
    apart = [CAPITALS_INSIDE.split(part) for part in parts]
    return [
        piece for part, pieces in zip(parts, apart, strict=True) for piece in (pieces if len(pieces) > 2 else [part])
    ]


def _is_name(word: str) -> bool:
    return word.isascii() and (FUNCTION.fullmatch(word.lower()) is not None or NAMES.fullmatch(word) is not None)


def _hidden(found: regex.Match[str]) -> list[str]:
    """The words of prose in a region that holds none if it is honest."""
    content = found.group()
    if found["command"]:
        name = content.lstrip("\\")
        return [] if name in COMMANDS or "{" in content or len(name) < 4 else [name]
    if found["address"]:
        return _sentence(regex.sub(r"[/\-_.+%]", " ", content))
    if found["code"]:
        written = content.strip("`").splitlines()
        labelled = written and len(written[0].split()) < 2  # else the first line is text, and no language's name
        lines = (line.strip().lstrip("#/*- ") for line in written[1 if labelled else 0 :])
        return [word for line in lines for word in (_sentence(line) if SYMBOLS.search(line) else _prose(line, 4))]
    if found["inline"]:
        return _sentence(content) if SYMBOLS.search(content.strip("`")) else _prose(content, 1)
    if found["tag"]:
        return [word for word in _prose(content, 1) if word.lower() not in TAGS]
    texts = " ".join(TEXT.findall(content))
    return _prose(texts, 3) + _prose(TEXT.sub(" ", content), 2 if SYMBOLS.search(content) else 1)


def _prose(text: str, least: int) -> list[str]:
    """The words of prose, if there are ``least`` of them; of a script without spaces each character is one."""
    runs = (run for run in PROSE.findall(text) if run.lower() not in FUNCTIONS)
    found = [word for run in runs for word in WORD.findall(run)]
    return found if len(found) >= least else []


def _sentence(text: str) -> list[str]:
    """The words of runs in code that are sentences: words with nothing but spaces and commas between them."""
    return [word for run in RUN_OF_WORDS.findall(text) for word in _prose(run, SENTENCE)]


def _together(letters: str, scatter: Callable[[list[str]], None]) -> str:
    """The letters as one word, or none if there are so many that a text is hidden in them."""
    if len(letters) < SCATTERED:
        return letters
    scatter([letters[i : i + 5] for i in range(0, len(letters), 5)])
    return " "


def _numbered(text: str, hide: Callable[[str], None]) -> str:
    """``x1`` and ``my_list`` are names; ``chat7`` may be a word in disguise."""
    for letters in regex.findall(r"[A-Za-z]{3,}", text):
        hide(letters)
    return " "
