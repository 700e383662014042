"""Number words, units of measurement and counted nouns, as they follow or replace a number in an answer.

A unit has dimensions and a factor, so that 5 km equals 5000 m and does not equal 5 m. A counted noun (``apples``) is
kept as words. Words that change the value of a number, negate it or offer another one (``squared``, ``million``,
``not``, ``or``, ``at least``) are neither: an answer that contains one is not a number with a unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"

_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
ONES = _ONES.split()
_TENS = """
twenty thirty forty fifty sixty seventy eighty ninety
"""
TENS = _TENS.split()
CARDINALS = {w: n for n, w in enumerate(ONES)} | {w: 10 * n for n, w in enumerate(TENS, start=2)}
SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "lakh": 10**5,
    "crore": 10**7,
    "dozen": 12,
    "score": 20,
    "gross": 144,
    "mil": 10**3,
    "mille": 10**3,
    "tausend": 10**3,
    "millionen": 10**6,
    "millones": 10**6,
    "millón": 10**6,
    "milliard": 10**9,
    "тысяча": 10**3,
    "тысячи": 10**3,
    "тысяч": 10**3,
    "миллион": 10**6,
    "миллиона": 10**6,
    "миллионов": 10**6,
    "百": 10**2,
    "千": 10**3,
    "万": 10**4,
    "萬": 10**4,
    "만": 10**4,
    "亿": 10**8,
    "億": 10**8,
    "억": 10**8,
    "百万": 10**6,
    "千万": 10**7,
}
SCALES |= {f"{word}s": factor for word, factor in SCALES.items() if word.isascii() and not word.endswith("s")}
PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
PARTS |= {"eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16}
PARTS |= {"seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20}
PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10, "hundredth": 100, "thousandth": 1000, "millionth": 10**6}
PARTS |= {f"{word}s": n for word, n in PARTS.items()}

# Words that deny, offer a choice or a bound, or correct what was said.
_HEDGES = """
not no non nor neither never cannot can't isn't aren't wasn't doesn't don't didn't won't couldn't shouldn't wouldn't
without except but instead rather unless if else otherwise whether or either maybe perhaps possibly probably might
may could wait actually sorry oops correction wrong incorrect false untrue invalid mistaken impossible excluded
excluding exclude reject rejected ruled between least most less fewer greater larger smaller lower higher below
above under beyond exceeding exceeds than versus vs unknown any anything anyone other another different unlike
nobody suppose supposing assume assuming imagine alternatively like
almost nearly hardly undefined undetermined indeterminate tops upwards downwards onwards others unsure doubt
doubtful unlikely guess nothing none fail fails failed
não nie nej inte ikke değil không bukan tidak niet ليس لا ليست नहीं
nicht kein keine weder oder vielleicht pas jamais aucun ou peut-être nunca ninguno ni quizás не нет или либо
"""
HEDGES = frozenset(_HEDGES.split())
EASTERN_HEDGES = re.compile(
    "不|非|无|無|没|沒|或|莫|未|否|错|錯|误|誤|可能|也许|也許|除了|除去|大于|小于|大於|小於|多于|少于|至少|至多|最少|最多|超过|超過|"
    "以上|以下|以内|之间|之間|左右|大约|大約|ない|じゃ|ません|または|もしくは|아니|아님|않|없|또는|혹은|이상|이하|미만|초과"
)
# Words that change a number's value, or join it to another one.
_OPERATIONS = """
plus minus times over by divided multiplied added subtracted squared cubed square cube root factorial mod modulo
modulus base power powers raised exponent choose percent percentage pct per-cent negative negated positive opposite
inverse reciprocal inverted double doubled triple tripled quadruple halved twice thrice once and to out of from in
into with plus-minus remainder rem degree-minus ago before after later earlier now more through till until upto
equal equals equal-to is are was were be been being does do did has have had it this that these those the a an as so
because since then thus hence therefore while when where which who what
"""
OPERATIONS = frozenset(_OPERATIONS.split())
# Allowed behind a number and its noun: they say what was counted, and no second value.
TAILS = re.compile(
    r"\s*(?:(?:in\s+)?(?:total|all|sum)|altogether|old|long|tall|wide|high|deep|each|left|remaining|exactly|per\s+\w+|(?:a|every|each)\s+\w+|"
    r"of\s+(?:the\s+|a\s+|an\s+|his\s+|her\s+|their\s+|its\s+)?[^\W\d_]+|in\s+the\s+\w+)\s*",
    re.IGNORECASE,
)
_IRREGULAR = """
people men women children feet teeth geese mice fish sheep deer oxen dice money water milk sand sugar flour rice
bread juice cash change homework work data species series units vertices matrices indices data fruit furniture
offspring cattle aircraft total each left altogether remaining
"""
IRREGULAR = frozenset(_IRREGULAR.split())
# Nouns that make another number of the one before them: 72 pairs are 144 things.
MULTIPLES = re.compile(
    r"(?:ten|one|pair|couple|percentage|multiple|(?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)ie|power|triple|trio)s"
    r"|(?:ten|hundred|thousand|[a-z]*illion|[a-z]*(?:teen|tie|seven|eigh|nin|fif|six|four))ths?"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measurement, or what was counted.

    Args:
        dimensions: exponents by base quantity, sorted; empty for a counted noun.
        factor: size in base units.
        noun: the folded words, for a counted noun, or behind a unit (``per day``).
    """

    dimensions: tuple[tuple[str, int], ...] = ()
    factor: Fraction = Fraction(1)
    noun: str = ""

    def __str__(self) -> str:
        sizes = " ".join(name if size == 1 else f"{name}^{size}" for name, size in self.dimensions)
        measured = f"× {self.factor} {sizes}" if sizes and self.factor != 1 else sizes
        return " ".join(part for part in (measured, self.noun) if part)


# names = size in base units, base quantities with their exponents
_UNITS = """
m meter metre 米 = 1 length
km kilometer kilometre 千米 公里 = 1000 length
dm decimeter decimetre 分米 = 1/10 length
cm centimeter centimetre 厘米 公分 = 1/100 length
mm millimeter millimetre 毫米 = 1/1000 length
μm um micrometer micrometre micron = 1/1000000 length
nm nanometer nanometre = 1/1000000000 length
in inch inche 英寸 = 0.0254 length
ft foot feet 英尺 = 0.3048 length
yd yard = 0.9144 length
mi mile 英里 = 1609.344 length
g gram gramme 克 = 1 mass
kg kilogram kilo 千克 公斤 = 1000 mass
mg milligram = 1/1000 mass
ton tonne 吨 = 1000000 mass
lb pound 磅 = 453.59237 mass
oz ounce = 28.349523125 mass
s sec second 秒 秒钟 = 1 time
ms millisecond = 1/1000 time
min minute 分钟 分 = 60 time
h hr hour 小时 时 = 3600 time
day 天 日 = 86400 time
wk week 周 星期 = 604800 time
mo month 月 个月 = 1 month
yr year 年 = 12 month
l liter litre 升 = 1/1000 length^3
ml milliliter millilitre 毫升 = 1/1000000 length^3
cc = 1/1000000 length^3
gal gallon = 16 gallon
qt quart = 4 gallon
pint = 2 gallon
cup = 1 gallon
acre = 1 acre
ha hectare 公顷 = 10000 length^2
mph = 0.44704 length time^-1
kph kmh kmph = 5/18 length time^-1
$ us$ usd dollar buck = 1 dollar
¢ cent = 1/100 dollar
€ euro eur = 1 euro
£ gbp = 1 sterling
p penny pence = 1/100 sterling
¥ yen jpy 円 日元 = 1 yen
yuan rmb cny 元 块 块钱 人民币 = 1 yuan
₹ rs rupee inr = 1 rupee
₽ ruble rouble rub 卢布 руб рублей рубля рубль = 1 ruble
₩ won krw 원 = 1 won
° deg degree 度 = 1 angle
rad radian = 1 radian
°c celsius 摄氏度 = 1 celsius
°f fahrenheit = 1 fahrenheit
k kelvin = 1 kelvin
n newton = 1000 mass length time^-2
j joule = 1000 mass length^2 time^-2
kj kilojoule = 1000000 mass length^2 time^-2
w watt = 1000 mass length^2 time^-3
kw kilowatt = 1000000 mass length^2 time^-3
pa pascal = 1000 mass length^-1 time^-2
hz hertz = 1 time^-1
mol mole = 1 amount
a amp ampere = 1 current
v volt = 1 volt
Ω ω ohm = 1 ohm
unit 单位 = 1 unit
square_unit sq_unit 平方单位 = 1 unit^2
cubic_unit = 1 unit^3
"""


def _table() -> dict[str, tuple[dict[str, int], Fraction]]:
    found: dict[str, tuple[dict[str, int], Fraction]] = {}
    for line in _UNITS.strip().splitlines():
        names, _, definition = line.partition(" = ")
        size, *quantities = definition.split()
        powers = (quantity.partition("^") for quantity in quantities)
        dimensions = {name: int(power or 1) for name, _, power in powers}
        for name in names.split():
            found[name.replace("_", " ")] = (dimensions, Fraction(size))
    return found


UNITS = _table()
# Written right behind a number these may be variables (5m, 5nm, 2rs), and are read as such.
_VARIABLES = """
m g s h l p a v w j n k in mi nm ms rs oz um pa ha mo wk ton cup
"""
VARIABLES = frozenset(_VARIABLES.split())
ABSORBING = re.compile(r"(?:square(?![a-z])|sq\.?|平方)\s*|(cubic|cu\.?|立方)\s*", re.IGNORECASE)


def parse_unit(text: str) -> Unit | None:
    """Read ``km/h``, ``square meters``, ``m s^{-2}``, ``平方米``; ``None`` if a part is no known unit."""
    dimensions: dict[str, int] = {}
    factor = Fraction(1)
    text = re.sub(r"\s*\bper\b\s*", "/", text.strip().rstrip(". "))
    parts = re.split(r"\s*(/|\*|·|\\cdot|\s)\s*(?=\S)", text)
    sign, power = 1, 1
    for part in parts:
        if part == "/":
            sign = -1
            continue
        if part in ("*", "·", r"\cdot") or not part.strip():
            continue
        if (prefix := ABSORBING.match(part)) is not None and prefix.end() == len(part):
            power = 3 if prefix[1] else 2
            continue
        if prefix is not None:
            power, part = (3 if prefix[1] else 2), part[prefix.end() :]
        if part.lower() in ("squared", "cubed") and dimensions:
            return None  # 5 meters squared may be 25 m^2
        found = re.fullmatch(r"([^\W\d_]+|[°$€£¥₹¢₽₩]\w?)\.?(?:\^?\{?(-?\d)\}?)?", part)
        unit = _unit_named(found[1]) if found else None
        if unit is None or found is None:
            return None
        exponent = sign * power * int(found[2] or 1)
        for name, size in unit[0].items():
            dimensions[name] = dimensions.get(name, 0) + size * exponent
        factor *= unit[1] ** exponent
        power = 1
    kept = tuple(sorted((name, size) for name, size in dimensions.items() if size))
    return Unit(kept, factor) if kept else None


def _unit_named(word: str) -> tuple[dict[str, int], Fraction] | None:
    folded = word.lower()
    for name in (folded, folded.removesuffix("s"), folded.removesuffix("es")):
        if name and name in UNITS:
            return UNITS[name]
    return None


def counted_noun(text: str, value: Fraction | None = None) -> str | None:
    """The folded noun phrase behind a number, or ``None`` if it is anything else.

    Args:
        value: the number; one thing is in the singular.
    """
    text = " ".join(text.lower().split()).strip(" .")
    if cjk := re.fullmatch(rf"[{CJK}]{{1,8}}", text):
        return (
            None
            if EASTERN_HEDGES.search(text)
            or re.search("^[多余餘几幾倍点點来來成半]|[百千万萬亿億一二三四五六七八九十]", text)
            else cjk[0]
        )
    core = text
    for _ in range(3):
        trimmed = TAILS.sub(" ", core).strip() if TAILS.search(core) else core
        if trimmed == core:
            break
        core = trimmed
    words = text.split()
    if words == ["times"]:
        return text
    if not words or len(words) > 8 or not all(re.fullmatch(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", w) for w in words):
        return None
    if any(w in HEDGES or w in CARDINALS or w in SCALES or w in PARTS for w in words):
        return None
    nouns = core.split()
    if any(w in OPERATIONS for w in nouns) or len(nouns) > 4:
        return None
    if not nouns:
        return text
    last = nouns[-1]
    plural = last.endswith("s") and not last.endswith(("ss", "us", "is"))
    if plural or last in IRREGULAR or not last.isascii() or (value is not None and abs(value) == 1):
        return text
    return None
