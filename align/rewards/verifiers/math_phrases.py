"""Sentences with a number in them that is not given as the answer: references, reports on the work, disclaimers."""

from __future__ import annotations

import re

_PARTS = r"(?:page|line|step|problem|question|option|table|chapter|case|item|part|point|paragraph|row|column|verse)"
_NAMED = (
    r"(?:equation|eq|theorem|lemma|corollary|proposition|formula|figure|fig|section|exercise|appendix|method|version|"
    r"algorithm|footnote|digit)"
)
_ANSWER = r"(?:the|our|my|this|that|your)\s+(?:final\s+|correct\s+)?(?:answer|result|solution)"
# The number is the name of something: "by Theorem 7"; parts of a text only where a solution is spoken of.
NAMES = re.compile(
    rf"\b{_NAMED}s?\.?\s*[(#]?\s*\d"
    rf"|\b(?:answers?|solution|see|refer|compare|luck|concludes?|follows|this\s+is|using|proof)\b.*\b{_PARTS}s?\s*[(#]?\s*\d"
    rf"|\b{_PARTS}s?\s*[(#]?\s*\d.*\b(?:answers?|solution)\b",
    re.IGNORECASE | re.DOTALL,
)
# Right behind "the answer is".
ELSEWHERE = re.compile(
    rf"\W*(?:(?:given|found|explained|shown|written|stated|listed|located|somewhere)\s+)*"
    rf"(?:(?:in|on|at|under|by|from|below|above|see|via|around|about|approximately)\s+)*(?:the\s+)?(?:{_PARTS}|{_NAMED})s?\b"
    r"|\W*(?:among|undefined|unknown|unclear|explained|(?:can|could|may)\s+be\s+found)\b",
    re.IGNORECASE,
)
# What is said of the work, and of how sure its author is.
REPORTS = re.compile(
    r"\b(?:answer|response|proof)\s+(?:\w+ly\s+)?(?:divides|precedes|exceeds|has|have|had|takes?|took|needs?|requires?|starts?|begins?|ends?|contains?|"
    r"consists?|includes?|lies|uses?|depends?|was\s+(?:written|found)|(?:can|may|is\s+to)\s+be\s+found|"
    r"(?:would|could|might|should)\s+have|used\s+to)\b"
    r"|\b(?:solution|solved|proof|proved|approach|answer|done|finished|work(?:ed)?)\b.*\d\s+(?:steps|lines|attempts|tries)\b"
    r"|\bI(?:'ve|\s+have)?\s+(?:solved|checked|verified|tried|attempted|rewrote|refuse|used)\s+(?:\w+\s+){0,3}\d"
    r"|\b(?:considered|examined|checked|verified|distinguished)\s+\d+\s+(?:cases|possibilities)\b"
    r"|\b(?:was|were)\s+supposed\s+to\s+be\b|\b(?:should|would|could|might)\s+have\b|\b(?:misprint|typo)\b"
    r"|\b(?:cases|things|steps|ways)\s+(?:to|we\s+must)\s+(?:check|consider|verify|show|prove|treat)\b"
    r"|\d\s*\\?%\s*(?:sure|certain|confident)\b|\bgood\s+luck\b|\bjust\s+kidding\b|\bcontradict|\b(?:un)?certainty\b"
    r"|\bas\s+(?:large|big|small|great|high|low|close|near|good)\s+as\b|\bin\s+base\b"
    r"|\bnumber\s+(?:with|of)\s+\d+\s+digits\b",
    re.IGNORECASE,
)
# The number is of something made from the answer.
TRANSFORMED = re.compile(
    r"\b(?:half|twice|thrice|double|triple|square(?:\s+root)?|cube(?:\s+root)?|root|negative|opposite|inverse|reciprocal|multiple|"
    rf"factor|digits?)\s+(?:of\s+)?{_ANSWER}\b"
    r"|\b(?:answer|result|solution),?\s+(?:when|if|once)\s+(?:doubled|tripled|halved|squared|cubed|increased|decreased|reduced)\b"
    r"|\b(?:answer|result|solution)\s*(?:\b(?:plus|minus|times|modulo|mod|multiplied|divided|squared|cubed)\b|[-+*/^]\s*\w)",
    re.IGNORECASE,
)
# Right behind a number: words that make another one of it, or of it and the next.
ALTERED = re.compile(
    r"\d\s+(?:(?:point|through|thru|take\s+away|permute|remainder|r)\s+\d"
    r"|(?:followed\s+by|with)\s+(?:\w+\s+){0,2}(?:zero(?:e?s)?|digits?)\b"
    r"|(?:when|once|if|(?:which|that)\s+(?:(?:must|should|can)\s+be|has\s+to\s+be|is))\s+(?:then\s+)?(?:doubled|halved|tripled|quadrupled|squared|cubed)\b"
    r"|too\s+(?:few|many|much|little|high|low|large|small|big)\b"
    r"|in\s+(?:binary|octal|hex(?:adecimal)?|ternary)\b)"
    r"|\d-(?:something|odd|ish)\b|\dish\b",
    re.IGNORECASE,
)
# A sentence in front of the last one that says there is no answer.
DISCLAIMED = re.compile(
    r"\b(?:I\s+(?:do\s+not|don'?t|cannot|can'?t)\s+(?:know|say|tell|solve|determine)|I\s+give\s+up|no\s+(?:idea|clue)|"
    r"(?:insufficient|not\s+enough)\s+information|cannot\s+be\s+(?:determined|solved|computed)|(?:just|only)\s+a\s+guess|"
    r"(?:^\W*|I'm\s+|I\s+am\s+)(?:not\s+sure|unsure))\b",
    re.IGNORECASE,
)


def misleading(sentence: str) -> bool:
    """True if the number in a sentence names a part of a text, counts steps, or is made from the answer."""
    named = NAMES.search(sentence)
    if named and not re.search(r"\d", sentence[named.end() :].lstrip("0123456789")):
        return True  # by equation (3), x = 7 has another number
    return any(pattern.search(sentence) for pattern in (REPORTS, TRANSFORMED, ALTERED))
