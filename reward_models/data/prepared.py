"""Results of reading data that are made once per machine and kept in a folder.

An entry is a directory whose name follows from its key. One process makes it while others that want the same wait for a
lock; it is written under another name and renamed when it is whole, so that nothing reads a part of it. Entries hold
Arrow files and JSON only: reading one runs no code that is in it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reward_models.data.streams import expand

FACTS = "facts.json"
SEGMENT = 2**26  # bytes of a file that one thread hashes
_READ = 2**20
_CODE = Path(__file__).parent  # what it reads and renders follows from these files
_LIBRARIES = ("transformers", "tokenizers", "jinja2")

Key = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished entry.

    Attributes:
        path: its directory. ``key``: all that its contents follow from.
        facts: those that its maker returned. ``made``: whether this call made it.
    """

    path: Path
    key: dict[str, Any]
    facts: dict[str, Any]
    made: bool

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.stat().st_size for file in self.path.iterdir())


def folder() -> Path:
    """The folder of all entries: ``data`` in ``KEEL_CACHE``, by default in ``~/.cache/keel``."""
    try:
        return Path(os.environ.get("KEEL_CACHE") or "~/.cache/keel").expanduser() / "data"
    except RuntimeError:  # of a user without an entry and without HOME, as in some containers
        raise OSError("there is no home directory to keep prepared data in; name a folder in KEEL_CACHE") from None


def entry(name: str, key: Key, make: Callable[[Path], dict[str, Any]]) -> Entry:
    """The entry of ``key``; ``make`` fills its directory first if there is none.

    Args:
        name: the beginning of the directory's name.
        key: what the contents follow from, as JSON.
        make: writes files into the directory that it is given, and returns facts to keep with them, as JSON.

    Raises:
        OSError: the folder cannot be written; the message names it and ``KEEL_CACHE``.
    """
    wanted = json.loads(json.dumps(key))
    path = folder() / f"{name}-{digest_of(wanted)}"
    if (found := _found(path, wanted)) is not None:
        return found
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent / f".{path.name}.lock"):
            if (found := _found(path, wanted)) is not None:
                return found
            for left in path.parent.glob(f".{path.name}.*.partial"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            _sweep(path.parent)
            partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
            try:
                facts = make(partial)
                _finish(partial, wanted, facts)
                shutil.rmtree(path, ignore_errors=True)  # damaged, or it would have been found
                partial.rename(path)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    made = _found(path, wanted)
    if made is None:
        raise OSError(f"{path} was made and is not there; does something else delete files in it?")
    return Entry(made.path, made.key, made.facts, made=True)


def entry_of_sources(
    name: str,
    sources: Mapping[str, Sequence[str]],
    settings: Key,
    read: Callable[[Path], dict[str, Any]],
    run: str = "",
    more_code: Sequence[Path] = (),
) -> Entry:
    """The entry of what ``read`` makes of sources: by the bytes of their files.

    Sources that are no files are read once in every run. What was read is then kept under its own hashes, so that data
    that have not changed are kept once. One process of a run looks at the sources; the others are told what it found.

    Args:
        sources: specs by their use. ``settings``: what the result depends on beside them.
        read: as ``make`` of :func:`entry`; its facts have ``digests``, of all that it wrote.
        run: equal in all processes of a run, and in no other run.
        more_code: files on which the result depends beside this package.
    """
    key: dict[str, Any] = {"settings": {**settings, **sources}, "versions": code(*more_code)}
    if not run:
        return _by_contents(name, sources, key, read)

    def pointer(_: Path) -> dict[str, Any]:
        made = _by_contents(name, sources, key, read)
        return {"key": made.key, "made": made.made}

    def missing(_: Path) -> dict[str, Any]:
        raise OSError("prepared data were deleted while a run began; start it again")

    told = entry("run", {"run": run, "name": name, **key}, pointer)
    found = entry(name, told.facts["key"], missing)
    return Entry(found.path, found.key, found.facts, told.facts["made"])


def _by_contents(name: str, sources: Mapping[str, Sequence[str]], key: Key, read: Callable[[Path], Any]) -> Entry:
    """The entry for the contents that the sources have now."""
    files = {use: contents(specs) for use, specs in sources.items()}
    if None not in files.values():
        return entry(name, {**files, **key}, read)
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".reading.", suffix=".partial", dir=folder()) as temporary:
        facts = read(Path(temporary))

        def move(target: Path) -> dict[str, Any]:
            for file in Path(temporary).iterdir():
                file.rename(target / file.name)
            return dict(facts)

        return entry(name, {"read": facts["digests"], **key}, move)


def _sweep(place: Path) -> None:
    """Remove what ended or killed runs have left."""
    ages = {"run-*": 86_400, ".run-*.lock": 86_400, ".*.partial": 7 * 86_400}
    for pattern, age in ages.items():
        for left in place.glob(pattern):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > age:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def _found(path: Path, key: dict[str, Any]) -> Entry | None:
    """The entry at ``path``; ``None`` if it is missing, has another key, or lacks bytes of a file."""
    try:
        content = json.loads((path / FACTS).read_text(encoding="utf-8"))
        whole = all((path / name).stat().st_size == size for name, size in content["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return Entry(path, key, content["facts"], made=False) if whole and content["key"] == key else None


def _finish(partial: Path, key: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write the facts last, once every byte of the other files is on disk."""
    files = sorted(partial.iterdir())
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    sizes = {file.name: file.stat().st_size for file in files}
    with (partial / FACTS).open("w", encoding="utf-8") as opened:
        json.dump({"key": key, "files": sizes, "facts": facts}, opened, indent=1)
        opened.flush()
        os.fsync(opened.fileno())


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Wait for the lock, which ends with the process. A file system without locks has none: then the last to end stays.

    The file stays: a process that waits for it would hold the lock of a file that nobody else sees.
    """
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise
        yield


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    reasons = {
        errno.ENOSPC: "no space left on the disk",
        errno.EDQUOT: "the quota is used up",
        errno.EACCES: "no permission to write",
        errno.EPERM: "no permission to write",
        errno.EROFS: "the file system is read-only",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in reasons:
            raise
        raise OSError(
            f"{reasons[error.errno]}: prepared data could not be kept in {place}. Free some space there, or name "
            "another folder in KEEL_CACHE"
        ) from error


def prepared_in(entries: Sequence[Entry], seconds: float) -> str:
    """A line on where prepared data are, their size, and whether they were made now."""
    made = "made" if any(each.made for each in entries) else "found"
    names = " and ".join(each.path.name for each in entries)
    size = sum(each.size for each in entries)
    unit = f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
    return f"prepared data {made} in {seconds:.1f} s: {names} in {entries[0].path.parent}, {unit}"


# --- keys -------------------------------------------------------------------------------------------------------------


def digest_of(value: object) -> str:
    """24 hexadecimal digits of the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def contents(specs: Sequence[str]) -> dict[str, str] | None:
    """The files that ``specs`` name, in order, each with a hash of its bytes; synthetic data follow from the code.

    Returns ``None`` if a spec is read from elsewhere (a hub data set, a directory, a database): its content is known
    only once it was read.
    """
    found: dict[str, str] = {}
    for name in (name for spec in specs for name in expand(spec)):
        path = Path(os.path.expandvars(os.path.expanduser(name)))
        if name.startswith("synthetic:"):
            found[name] = "synthetic"
        elif path.is_file():
            found[str(path)] = file_digest(path)
        else:
            return None
    return found


def file_digest(path: Path) -> str:
    """A hash of a file's bytes: the SHA-256 of the SHA-256 of each segment, which threads compute side by side."""

    def segment(start: int) -> bytes:
        state, left = hashlib.sha256(), SEGMENT
        with path.open("rb") as file:
            file.seek(start)
            while left and (block := file.read(min(_READ, left))):
                state.update(block)
                left -= len(block)
        return state.digest()

    starts = range(0, max(1, path.stat().st_size), SEGMENT)
    with ThreadPoolExecutor(min(len(starts), cores())) as threads:
        return hashlib.sha256(b"".join(threads.map(segment, starts))).hexdigest()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache
def code(*more: Path) -> dict[str, str]:
    """A hash of this package's files and of ``more``, and library versions: prepared data depend on them too."""
    state = hashlib.sha256()
    for file in sorted([*_CODE.rglob("*.py"), _CODE.parent / "dataset.py", *more]):
        state.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return {"code": state.hexdigest()[:24]} | {name: version(name) for name in _LIBRARIES}


def differences(before: Key, now: Key) -> list[str]:
    """The parts in which two keys differ, a text each: ``tokenizer``, ``settings.max_length: 512, was 1024``."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        a, b = before.get(name), now.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += [f"{name}.{inner}" for inner in differences(a, b)]
        elif a != b:
            short = all(value is None or len(str(value)) < 24 for value in (a, b))
            found.append(f"{name}: {b}, was {a}" if short else name)
    return found
