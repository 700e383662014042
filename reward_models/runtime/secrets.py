"""Values from the environment in a configuration: used by the run, never written down.

``${oc.env:NAME}`` in a configuration is replaced when it is loaded. Configurations are also written, into run
directories and manifests, which get published. There the text stays as it was in the file.
"""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:[^{}]*\}")
SHORT = 4  # characters; a shorter value, such as a number, is replaced in messages only where it stands alone
# (place in a configuration, value) -> the text to write instead. Kept for the process and not in the configuration:
# frozen dataclasses are copied and replaced, and must not lose it on the way.
_written: dict[tuple[tuple[Any, ...], str], str] = {}


def remember(merged: DictConfig) -> None:
    """Note the values of a merged configuration that come from the environment, also by way of other keys.

    Raises:
        OmegaConfBaseException: a variable is not set, or a key that is referred to is missing.
    """
    raw = OmegaConf.to_container(merged, resolve=False)
    expressions = set(FROM_ENVIRONMENT.findall(repr(raw)))
    if not expressions and "oc.env" not in repr(raw):
        return
    values = {str(OmegaConf.create({"value": each}).value): each for each in expressions}
    resolved = dict(_leaves(OmegaConf.to_container(merged, resolve=True)))
    for place, text in _leaves(raw):
        value = resolved[place]
        if not isinstance(text, str) or "${" not in text:
            continue
        written = str(value)
        for secret, expression in values.items():
            written = written.replace(secret, expression) if secret else written
        if written == str(value) and "oc.env" in text:  # changed on the way, e.g. decoded
            written = text
        if written != str(value):
            _written[place, str(value)] = written


def without_values(text: str, merged: DictConfig, key: str = "") -> str:
    """A message about a configuration, with ``${oc.env:NAME}`` in place of every value from the environment.

    Args:
        key: the setting that the message is about. If its value comes from the environment and the message does not
            quote it as a whole, it may quote a part: then it is replaced altogether.
    """
    raw = OmegaConf.to_container(merged, resolve=False)
    known = []
    for expression in sorted(set(FROM_ENVIRONMENT.findall(repr(raw)))):
        try:
            value = str(OmegaConf.create({"value": expression}).value)
        except OmegaConfBaseException:  # the variable is not set
            continue
        known.append(expression)
        for written in sorted({value, repr(value)[1:-1]}, key=len, reverse=True):
            found = re.escape(written) if len(written) >= SHORT else rf"(?<!\w){re.escape(written)}(?!\w)"
            text = re.sub(found, expression.replace("\\", r"\\"), text) if written else text
    setting = next((value for place, value in _leaves(raw) if _full_key(place) == key), None)
    if any(each in str(setting) for each in known) and not any(each in text for each in known):
        return f"the setting does not take the value of {setting}"
    return text


def _full_key(place: tuple[Any, ...]) -> str:
    """As OmegaConf writes it: ``sources[0].name``."""
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place).removeprefix(".")


def unresolved(container: Any, place: tuple[Any, ...] = ()) -> Any:
    """A container of a configuration's values with the values from the environment as they were written."""
    if isinstance(container, dict):
        return {key: unresolved(value, (*place, key)) for key, value in container.items()}
    if isinstance(container, list | tuple):
        return [unresolved(value, (*place, number)) for number, value in enumerate(container)]
    return _written.get((place, str(container)), container)


def written_as(value: str) -> str:
    """A value of some configuration as it was written there, e.g. the name of a data source with a password in it."""
    return next((text for (_, resolved), text in _written.items() if resolved == value), value)


def _leaves(container: Any, place: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(container, dict):
        return [leaf for key, value in container.items() for leaf in _leaves(value, (*place, key))]
    if isinstance(container, list):
        return [leaf for number, value in enumerate(container) for leaf in _leaves(value, (*place, number))]
    return [(place, container)]
