"""Typed configuration: frozen dataclasses hold the defaults, a YAML file and ``key=value`` words change them.

A key that does not exist is an error that names the nearest one; nothing is read that the dataclass does not declare.
A dataclass whose keys were renamed lists them in a class variable, ``RENAMED: ClassVar[dict[str, str]] = {old: new}``:
the error for an old key then names the new one. Renamed values are listed in ``RENAMED_VALUES``, ``{key: {old: new}}``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reward_models.runtime import secrets

Config = TypeVar("Config")
CONFIG_FILE = "config.yaml"  # of a run, in its directory


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file or key, and how to fix it."""


def load_config(schema: type[Config], path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Defaults of ``schema``, then the YAML file, then ``key=value`` overrides with dotted keys.

    A number in a key is a place in a list, as in ``layers.0.width=2``.

    Args:
        path: a file, or the bare name of a preset that comes with the package of ``schema``: ``small``.

    Raises:
        ConfigError: no such file, not a mapping, unknown key, wrong type, or a value the dataclass refuses.
    """
    merged = OmegaConf.structured(schema)
    try:
        if path is not None:
            merged = _merge(schema, merged, _read_yaml(_find(path, schema)), str(path))
        for word in overrides:
            if "=" not in word:
                raise ConfigError(f"{word!r} is not of the form key=value")
            given = OmegaConf.to_container(_read_word(word))
            whole = OmegaConf.create(_in_lists(given, OmegaConf.to_container(merged), word))
            merged = _merge(schema, merged, whole, "the command line")
        secrets.remember(merged)
        return cast(Config, OmegaConf.to_object(merged))
    except ConfigError:
        raise
    except (OmegaConfBaseException, ValueError) as error:  # a wrong type; a value that a dataclass refuses
        key = str(error.full_key or "") if isinstance(error, OmegaConfBaseException) else ""
        where = " and ".join([*([str(path)] if path is not None else []), *(["the command line"] if overrides else [])])
        said = str(error)
        concealed = secrets.without_values(said, merged, key)
        reason = concealed.splitlines()[0]
        if "is not a ListConfig" in reason:
            reason = "it is a list: write it in brackets, [a] or [a, b]"
        # The cause would be shown with its message, the value included.
        about = f"{where or 'the defaults'}: {key}: " if key else f"{where or 'the defaults'}: "
        raise ConfigError(about + reason) from (error if said == concealed else None)


def dump_config(config: Any) -> str:
    """The configuration as YAML, every key written out and resolved, but for ``${oc.env:…}``: that stays as it is."""
    structured = OmegaConf.structured(config)
    container = OmegaConf.to_container(structured, resolve=True, enum_to_str=True)
    written = secrets.unresolved(container)
    return OmegaConf.to_yaml(structured, resolve=True) if written == container else OmegaConf.to_yaml(written)


def with_defaults(schema: type, written: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that was written as :func:`dump_config` does, with the keys that it lacks at their defaults.

    An earlier version wrote it where keys have been added since. Keys that ``schema`` does not have stay.
    """
    completed: dict[str, Any] = _completed(schema, written, {})
    return completed


def _completed(schema: type, written: Any, defaults: Mapping[str, Any]) -> Any:
    """Args: ``defaults``: those of this section, where they differ from its dataclass's own."""
    if not isinstance(written, Mapping):  # an earlier version took something else there
        return written
    usual = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(schema))) | dict(defaults)
    result = dict(written)
    for key, hint in _keys(schema).items():
        nested = next((t for t in _members(hint) if dataclasses.is_dataclass(t)), None)
        given = written.get(key)
        if key not in written:
            if usual[key] != MISSING:
                result[key] = usual[key]
        elif nested is None:
            continue
        elif get_origin(hint) is list and isinstance(given, list):
            result[key] = [_completed(cast(type, nested), each, {}) for each in given]
        elif get_origin(hint) is dict and isinstance(given, Mapping):
            result[key] = {name: _completed(cast(type, nested), each, {}) for name, each in given.items()}
        elif isinstance(given, Mapping):
            result[key] = _completed(cast(type, nested), given, usual[key] or {})
    return result


def unknown_keys(schema: type, written: Mapping[str, Any], prefix: str = "") -> dict[str, str | None]:
    """The keys of ``written`` that ``schema`` does not have, each with its new name or ``None``."""
    known, renamed = _keys(schema), getattr(schema, "RENAMED", {})
    found: dict[str, str | None] = {}
    for key, value in written.items():
        if key not in known:
            found[f"{prefix}{key}"] = f"{prefix}{renamed[key]}" if key in renamed else None
            continue
        nested = next((each for each in _members(known[key]) if dataclasses.is_dataclass(each)), None)
        if nested is None or not isinstance(value, Mapping):
            continue
        sections = {f"{prefix}{key}.": value}
        if get_origin(known[key]) is dict:  # names that the user chooses, and a section for each
            sections = {f"{prefix}{key}.{name}.": each for name, each in value.items()}
        for start, section in sections.items():
            if isinstance(section, Mapping):
                found |= unknown_keys(cast(type, nested), section, start)
    return found


def refusal(schema: type, written: Mapping[str, Any]) -> str:
    """The reason for which ``schema`` refuses a configuration that an earlier version wrote; empty if it takes it."""
    try:
        OmegaConf.to_object(_merge(schema, OmegaConf.structured(schema), OmegaConf.create(dict(written)), CONFIG_FILE))
    except (OmegaConfBaseException, ValueError) as error:  # a ConfigError is one, and so is what a dataclass raises
        return str(error).splitlines()[0]
    return ""


def differing(
    old: Any, new: Any, may_change: tuple[str, ...], gone: Mapping[str, str | None] | None = None
) -> list[str]:
    """The settings in which two configurations differ, a text each.

    Args:
        may_change: prefixes of keys that may differ.
        gone: keys of an earlier version, which no setting of this one restores, with their new names.
    """
    before, after = _flatten(old), _flatten(new)

    def text(key: str) -> str:
        for name, instead in (gone or {}).items():
            if key == name or key.startswith(f"{name}."):
                now = f", now {instead}" if instead else ""
                return f"{key}: {before.get(key)} there, a setting of an earlier version{now}"
        return f"{key}: {before.get(key)} there, {after.get(key)} here"

    return [
        text(key)
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not key.startswith(may_change)
    ]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {k: v for key, inner in value.items() for k, v in _flatten(inner, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}


def presets(schema: type) -> dict[str, Path]:
    """Name → file of the presets for ``schema``: they are installed beside it, in its package's folder ``presets``.

    Where schemas share a package, a preset belongs to those that declare its keys.
    """
    package = resources.files(schema.__module__.partition(".")[0])
    known = _keys(schema).keys()
    with resources.as_file(package / "presets") as folder:
        return {file.stem: file for file in sorted(folder.glob("*.yaml")) if _read_yaml(file).keys() <= known}


def _find(path: str | Path, schema: type) -> Path:
    file = Path(path)
    if file.is_file():
        return file
    ours = presets(schema)
    if str(path) in ours:
        return ours[str(path)]
    nearby = [*ours, *sorted(str(p) for p in file.parent.glob("*.yaml"))]
    close = difflib.get_close_matches(str(path), nearby, n=3, cutoff=0.5) or nearby
    raise ConfigError(f"no configuration file or preset {path}; there are {', '.join(close) or 'none'}")


def _read_word(word: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([word])
    except yaml.YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", error)).split())
        raise ConfigError(
            f"{word!r}: the value is not YAML ({reason}); in {{a: 1, b: [2, 3]}} a space follows each colon, and text "
            "with special characters stands in quotes"
        ) from error


def _read_yaml(path: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path} holds a list or a bare value; a configuration is a mapping of keys")
    return loaded


def _in_lists(given: Any, base: Any, word: str) -> Any:
    """``{0: {weight: 2}}`` for a list becomes the list with its first element changed."""
    if not isinstance(given, dict):
        return given
    if isinstance(base, Mapping):
        return {key: _in_lists(value, base.get(key), word) for key, value in given.items()}
    if not isinstance(base, list) or not all(str(key).isdecimal() for key in given):
        return given
    changed = list(base)
    for place, value in given.items():
        if int(place) >= len(changed):
            raise ConfigError(f"{word}: the list has {len(changed)} elements, counted from 0")
        below = changed[int(place)]
        value = _in_lists(value, below, word)
        both = isinstance(value, dict) and isinstance(below, Mapping)
        changed[int(place)] = OmegaConf.to_container(OmegaConf.merge(below, value)) if both else value
    return changed


def _merge(schema: type, into: DictConfig, given: Any, where: str) -> DictConfig:
    plain = OmegaConf.to_container(given, resolve=False)
    assert isinstance(plain, dict)
    _check_keys(schema, plain, where, "")
    return cast(DictConfig, OmegaConf.merge(into, given))


def _check_keys(schema: type, given: Mapping[Any, Any], where: str, prefix: str) -> None:
    hints = _keys(schema)
    for key, value in given.items():
        if key not in hints:
            raise ConfigError(f"{where}: unknown key {prefix}{key}; {_instead(schema, str(key), prefix)}")
        if isinstance(value, str) and (now := _renamed_value(schema, key, value)) is not None:
            raise ConfigError(f"{where}: {prefix}{key}={value}: {value} is now called {now}: write {prefix}{key}={now}")
        nested = next((t for t in _members(hints[key]) if dataclasses.is_dataclass(t)), None)
        if nested is not None and get_origin(hints[key]) is list:
            if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
                keys = ", ".join(_keys(nested))
                raise ConfigError(f"{where}: {prefix}{key} is a list of sections of the keys {keys}, and not {value!r}")
            for number, each in enumerate(value):
                _check_keys(cast(type, nested), each, where, f"{prefix}{key}[{number}].")
        elif nested is not None and get_origin(hints[key]) is dict:
            if not isinstance(value, Mapping) or not all(isinstance(each, Mapping) for each in value.values()):
                keys = ", ".join(_keys(nested))
                raise ConfigError(f"{where}: {prefix}{key} names sections of the keys {keys}, and is not {value!r}")
            for name, each in value.items():
                _check_keys(cast(type, nested), each, where, f"{prefix}{key}.{name}.")
        elif nested is not None and isinstance(value, Mapping):
            _check_keys(cast(type, nested), value, where, f"{prefix}{key}.")
        elif nested is not None and value is not None:
            keys = ", ".join(sorted(_keys(nested)))
            raise ConfigError(f"{where}: {prefix}{key} is a section of the keys {keys}, and not {value!r}")


def _keys(schema: Any) -> dict[str, Any]:
    """The keys of a section and their types."""
    hints = get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def _instead(schema: type, key: str, prefix: str) -> str:
    """The suggestion for an unknown key: its new name, the nearest key, or a list of all keys."""
    renamed: Mapping[str, str] = getattr(schema, "RENAMED", {})
    if key in renamed:
        return f"it is now called {prefix}{renamed[key]}"
    known = _keys(schema)
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"did you mean {prefix}{close[0]}?" if close else f"known keys: {', '.join(sorted(known))}"


def _renamed_value(schema: type, key: str, value: str) -> str | None:
    """The new name of a value that was renamed."""
    renamed: Mapping[str, Mapping[str, str]] = getattr(schema, "RENAMED_VALUES", {})
    return renamed.get(key, {}).get(value)


def _members(hint: Any) -> tuple[Any, ...]:
    return (hint, *getattr(hint, "__args__", ()))  # X | None and plain types alike
