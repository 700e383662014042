"""The words around an answer: an answer that is denied, supposed or doubted is not given."""

from __future__ import annotations

import re

_NAMED = r"(?:answer|result|value|solution|total|sum|number|choice|option|one|guess)"
_SUBJECT = rf"(?:(?:it|this|that|the|our|my|an?|one|final|correct|right|possible|{_NAMED})\s+)"
_VERB = r"(?:(?:is|was|were|are|be|equals?|would\s+be|could\s+be|will\s+be|to)\b\s*)"
# Somebody else's answer: "some say", "one might think that", "the student wrote".
REPORTED = (
    r"(?:some|others?|people|many|most|one|someone|somebody|students?|friends?|neighbou?rs?|"
    r"teachers?|(?:text)?books?|authors?|classmates?|colleagues?)\s+(?:of\s+\w+\s+)?(?:\w+\s+)?"
    r"(?:says?|said|thinks?|thought|believes?|claims?|claimed|guess(?:es|ed)?|argues?|suggests?|writes?|wrote|chooses?|picks?)"
    r"(?:\s+that)?(?:\s+(?:the|our|an?|it|final|correct|answer|is|was))*"
)
_END = r"[\s:=$*(\"'\[\\]{0,8}$"
# At the end of the text in front of an answer. The subject is the answer: "the apples not eaten are 7" is no denial.
_DENIED_BEFORE = (
    rf"(?:\bnot|\bcannot|n't|\bnever|\bneither|\bnor|≠|\\neq?|!=|不是|并非|非)\s*(?:(?:really|exactly|simply)\s+)?"
    rf"(?:be\s+)?(?:equal\s+(?:to\s+)?)?{_SUBJECT}{{0,3}}{_END}"
    rf"|\b(?:wrong|incorrect|false|invalid|mistaken|bad)\s+(?:{_NAMED}\s*)?(?:here\s+)?{_VERB}{{0,2}}{_END}"
    rf"|\b(?:suppose|supposing|assume|assuming|imagine|if|whether|unless)\s+{_SUBJECT}{{0,4}}{_VERB}{{0,2}}{_END}"
    rf"|\b(?:nobody|no[\s-]one|none)\b[^.,;:!?\n]{{0,40}}{_END}"
    rf"|\b(?:perhaps|maybe|possibly)\b,?\s*{_SUBJECT}{{0,4}}{_VERB}{{0,2}}{_END}"
    rf"|\b(?:might|may|could)\s+(?:\w+\s+)?(?:be|equal){_END}"
    rf"|\b(?:like|such\s+as|for\s+example|for\s+instance),?{_END}"
    rf"|\b(?:{REPORTED}){_END}"
    rf"|\b(?:naive|tempting|obvious\s+but\s+wrong|(?:common|typical|frequent)\s+(?:mistake|error))\b[^.,;:!?\n]{{0,30}}{_END}"
    rf"|\b(?:put|write|place|give|enclose|box)\s+your\b[^.;!?\n]{{0,30}}{_END}|\bformat\b[^.;!?\n]{{0,20}}{_END}"
)
DENIED_BEFORE = re.compile(_DENIED_BEFORE, re.IGNORECASE)
# In front of "answer is …": the words up to "answer".
DENIED_ANNOUNCEMENT = re.compile(
    r"\b(?:suppose|supposing|assume|assuming|imagine|if|whether|unless|nobody|no|not|never|wrong|incorrect|false|invalid|maybe|"
    r"perhaps|possibly)(?:\s+(?:that|the|our|my|an?|this|one|final|correct|right|possible|would|will|could|should))*\s*$"
    rf"|\b{REPORTED}\s*$|\bnot\s+the\s+case\b[^.,;:!?\n]{{0,12}}$"
    r"|(?:(?:\bnot|n['’]t)\s+(?:\w+\s+){0,2}(?:true|right|correct|certain|clear|sure|say|claim|think|believe)|\b(?:cannot|never)\s+(?:say|claim)"
    r"|\b(?:false|untrue|wrong|incorrect|unlikely|a\s+(?:lie|mistake|myth)|might\s+think|may\s+think))\b"
    r"[^.;:!?\n]{0,60}?(?:\s(?:that|the|our|my|final|correct|right))+\s*$"
    r"|\b(?:nobody|no\s+one|(?<!no )(?<!without )(?<!without a )(?<!beyond )(?<!beyond a )doubt(?:s|ed)?|"
    r"den(?:y|ies|ied)|disagrees?)\b[^.,;:!?\n]{0,40}$",
    re.IGNORECASE,
)
_WRONG = r"(?:wrong|incorrect|false|invalid|impossible|mistaken|a\s+mistake)\b"
_RIGHT = r"(?:right|correct|true|valid|possible|sure|it\b|(?:the|our|my)\s+(?:\w+\s+)?(?:answer|result|solution))"
_CORRECTION = (
    r"(?:wait|hmm+|actually|correction|just\s+kidding|scratch\s+that|on\s+second\s+thought|my\s+mistake|i\s+meant|"
    r"but\s+then\s+(?:we\s+)?correct)"
)
# Behind an answer: "is wrong", ", but that is not right", "? No, …", ". Wrong!"
DENIED_AFTER = re.compile(
    r"[\s$*)\]\"'”\\]{0,8}(?:\?"
    r"|[,;:—–-]?\s*\(?(?:(?:but|and|yet|though|although)\s+)?(?:(?:that|this|it|which|the\s+answer)\s*)?"
    r"(?:is|was|'s|seems?|looks?|must\s+be|would\s+be|cannot\s+be|can't\s+be|(?:is|was)n't)\s+"
    rf"(?:(?:clearly|obviously|probably|of\s+course|just|simply)\s+)?(?:{_WRONG}|(?<=n't\s){_RIGHT}|(?:cannot|can't)?\s*not\s+{_RIGHT})"
    r"|[.!,;\s—–-]*(?:no|nope|wrong|incorrect|false|oops|sorry)\s*[,.!:;—–-]"
    rf"|[.!,;\s—–-]*not\s+{_RIGHT}"
    r"|[,\s]*(?:fails\b|does\s+not\s+work\b|is\s+rejected\b|(?:incorrectly|wrongly|mistakenly|falsely)\b)"
    r"|\s*,?\s*(?:if|unless|provided|assuming)\b[^.\n]{0,40}\b(?:else|otherwise)\b"
    r"|[.!,;:\s—–-]*\(?this\s+is\s+not\s+(?:the|my|our)\b"
    rf"|[.!,;:\s—–-]*{_CORRECTION}\b(?![^.!\n]{{0,40}}\b(?:check|verify|confirm)))",
    re.IGNORECASE,
)
# Behind an answer: another one. A formula or a number follows in the same sentence.
ANOTHER = re.compile(
    r"[\s$*)\]\"'”\\]{0,8}[.,;!]?[\s(]*(?:or|alternatively|otherwise|maybe|perhaps|possibly|或)\b[^.\n]{0,40}?(?:\d|\\boxed)",
    re.IGNORECASE,
)
ANNOUNCED = re.compile(
    r"\b(?:answer|response)\b\**\s*(?:(?:is|was|should\s+be|must\s+be|would\s+be)\b\s*:?|:)[\s*]*", re.IGNORECASE
)
COMMAND = re.compile(r"\\[A-Za-z]+")
WORD = re.compile(r"\w+")


def denied_before(text: str) -> bool:
    """True if the end of ``text`` denies, supposes or doubts the answer that follows it."""
    return DENIED_BEFORE.search(text[-80:]) is not None


def denied_after(text: str) -> bool:
    """True if the beginning of ``text`` takes back the answer in front of it."""
    return DENIED_AFTER.match(text[:120]) is not None


def another_after(text: str) -> bool:
    """True if the beginning of ``text`` offers another answer than the one in front of it: "or 12"."""
    return ANOTHER.match(text[:120]) is not None


def contradicted(answer: str, behind: str) -> bool:
    """True if the text behind a marked answer announces one that shares no word or number with it."""
    announced = list(ANNOUNCED.finditer(behind))
    if not announced or DENIED_ANNOUNCEMENT.search(behind[: announced[-1].start()].split("\n")[-1]):
        return False
    said = WORD.findall(COMMAND.sub(" ", behind[announced[-1].end() :]))[:8]
    ours = {word.casefold() for word in WORD.findall(COMMAND.sub(" ", answer))}
    return bool(said and ours) and not any(word.casefold() in ours for word in said)
