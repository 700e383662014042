"""The size of a JSON text, counted before it is parsed.

A body of 3 MB can hold a million lists, which take seconds and gigabytes as Python objects. They are counted in the
bytes; nothing is built.
"""

from __future__ import annotations

import json
import re
from typing import Any

from reward_models.serving.limits import Limits, Refused

# Possessive quantifiers: no backtracking, so a string without an end takes linear time and no memory.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def parse(body: bytes, limits: Limits) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        Refused: 413, it holds more than ``limits.body_lists`` lists and objects, or ``limits.body_values`` values, or
            more texts or conversations than a request may have: they would all be validated, on the event loop, first.
        ValueError: it is not JSON. RecursionError: it is nested too deeply.
    """
    lists, values = count(body, limits.body_lists, limits.body_values)
    if lists > limits.body_lists:
        raise Refused(413, f"the body holds more than the {limits.body_lists} lists and objects of one request")
    if values > limits.body_values:
        raise Refused(413, f"the body holds more than the {limits.body_values} values of one request")
    value = json.loads(body.decode())  # other encodings than UTF-8 would hide brackets from the count
    for field in value.values() if isinstance(value, dict) else ():
        if isinstance(field, list) and len(field) > limits.conversations and isinstance(field[0], list | str):
            raise Refused(413, f"{len(field)} conversations are more than the {limits.conversations} of one request")
    return value


def count(body: bytes, most_lists: int, most_values: int) -> tuple[int, int]:
    """The number of lists and objects in a JSON text, and of values (commas, lists and objects).

    The numbers are exact if one of them is above its limit; otherwise they are at most the limits.
    """
    lists = body.count(b"[") + body.count(b"{")
    values = lists + body.count(b",")
    if lists <= most_lists and values <= most_values:  # the number with those in strings is an upper bound
        return lists, values
    lists = values = place = 0
    while place < len(body) and lists <= most_lists and values <= most_values:
        quote = body.find(b'"', place)
        end = len(body) if quote < 0 else quote
        opened = body.count(b"[", place, end) + body.count(b"{", place, end)
        lists, values = lists + opened, values + opened + body.count(b",", place, end)
        text = STRING.match(body, end)
        place = len(body) if text is None else text.end()  # no string, or one without an end, which is not JSON
    return lists, values
