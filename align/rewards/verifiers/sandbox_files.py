"""The files of the machine that a program in the sandbox can read: those that the interpreter needs, and no others.

They are found by running the interpreter once: it imports the extension modules of its standard library and lists the
shared libraries that are then mapped into its memory. Of the installed packages only those that are named are there.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

DEVICES = ("/dev/null", "/dev/urandom")
LOADER_FILES = ("/etc/ld.so.cache", "/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path")
TIME_ZONES = "/usr/share/zoneinfo"
TOP_LINKS = ("/bin", "/lib", "/lib32", "/lib64")  # links into /usr on most systems
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")  # the loader itself has a link there
PACKAGES = ("site-packages", "dist-packages")
PACKAGE_ROOT = "/packages"  # in the box
INPUT = "/box/stdin"  # the file that is the program's standard input; there is no /proc for the usual /dev/stdin

LISTING = """
import importlib, json, os, sys, sysconfig
paths = sysconfig.get_paths()
folder = os.path.join(paths["platstdlib"], "lib-dynload")
for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
    module = name.partition(".")[0]
    if "test" not in module and not module.startswith("xx") and module != "_tkinter":
        try:
            importlib.import_module(module)
        except Exception:
            pass
for folder, name in zip(sys.argv[1::2], sys.argv[2::2]):
    sys.path.append(folder)
    importlib.import_module(name)
with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
    fields = [line.rstrip("\\n").split(None, 5) for line in maps]
print(json.dumps({
    "directories": sorted({paths["stdlib"], paths["platstdlib"]}),
    "mapped": sorted({each[5] for each in fields if len(each) == 6 and each[5].startswith("/")}),
}))
"""


@dataclass(frozen=True, slots=True)
class Files:
    """Contents of a sandbox's root directory besides the program's own files. All paths are absolute.

    Attributes:
        directories, files: mounted read-only at the paths that they have outside.
        hidden: directories below ``directories`` that are empty in the box.
        packages: directory of an installed package, or of its libraries → its path in the box.
        links: symbolic link → its target.
    """

    directories: list[str]
    files: list[str]
    hidden: list[str]
    packages: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@functools.cache
def interpreter_files(python: str, environment: tuple[tuple[str, str], ...], packages: tuple[str, ...] = ()) -> Files:
    """The files that ``python``, the real path of an interpreter, needs.

    Args:
        packages: installed packages that programs may import; one that is not installed is left out.

    Raises:
        OSError: it does not run, or cannot import a package.
    """
    installed = {name: folder for name in packages if (folder := package_folder(name)) is not None}
    found = _listed(python, dict(environment), installed)
    directories = [*found["directories"], *([TIME_ZONES] if os.path.isdir(TIME_ZONES) else [])]
    mounted = {path: f"{PACKAGE_ROOT}/{os.path.basename(path)}" for path in _package_directories(installed)}
    mapped = [path for path in found["mapped"] if os.path.isfile(path)]
    files = [path for path in mapped if not path.startswith(tuple(f"{each}/" for each in (*directories, *mounted)))]
    libraries = set(files)
    others = [path for path in (*DEVICES, *LOADER_FILES) if os.path.exists(path)]
    return Files(
        directories=directories,
        files=sorted({python, *libraries, *others}),
        hidden=[path for each in directories for name in PACKAGES if os.path.isdir(path := os.path.join(each, name))],
        packages=mounted,
        links=_top_links() | _library_links(libraries) | {"/dev/stdin": INPUT},
    )


@functools.cache
def program_files(program: str) -> Files:
    """A program of the machine and the shared libraries that it needs, as the loader lists them.

    Args:
        program: its real path.

    Raises:
        OSError: the loader does not list them.
    """
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if done.returncode != 0 and "not a dynamic" not in done.stderr + done.stdout:
        raise OSError(f"the libraries of {program} cannot be listed: {done.stderr[-200:]}")
    named = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
    libraries = {os.path.realpath(each) for each in named}
    places = {os.path.join(os.path.realpath(os.path.dirname(each)), os.path.basename(each)) for each in named}
    links = {each: real for each in places if (real := os.path.realpath(each)) != each}
    return Files([], sorted({program, *libraries}), [], {}, _top_links() | _library_links(libraries) | links)


def merged(one: Files, other: Files | None) -> Files:
    """The files of both. What lies below a directory that is mounted whole is not mounted again."""
    if other is None:
        return one
    directories = sorted({*one.directories, *other.directories})
    directories = [each for each in directories if not _below(each, [d for d in directories if d != each])]
    links = {**one.links, **other.links}
    top = _top_links()
    return Files(
        directories=directories,
        files=sorted(path for path in {*one.files, *other.files} if not _below(path, directories)),
        hidden=sorted({*one.hidden, *other.hidden}),
        packages={**one.packages, **other.packages},
        links={link: to for link, to in links.items() if link in top or not _below(link, directories)},
    )


def _below(path: str, directories: list[str]) -> bool:
    return any(path.startswith(f"{each}/") for each in directories)


def package_folder(name: str) -> str | None:
    """The directory that an installed package lies in; ``None`` if it is not installed, or is no directory."""
    spec = importlib.util.find_spec(name)
    return os.path.dirname(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _package_directories(installed: Mapping[str, str]) -> list[str]:
    """The packages, and the directories with the libraries that their wheels bring: ``numpy`` and ``numpy.libs``."""
    paths = [os.path.join(folder, f"{name}{end}") for name, folder in installed.items() for end in ("", ".libs")]
    return [path for path in paths if os.path.isdir(path)]


def _listed(python: str, environment: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, list[str]]:
    words = [word for name, folder in installed.items() for word in (folder, name)]
    done = subprocess.run(
        [python, "-I", "-S", "-B", "-c", LISTING, *words], env=environment, cwd="/", capture_output=True, check=False
    )
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise OSError(f"{python} does not list its files: {done.stderr[-300:].decode(errors='replace')}") from None


def _top_links() -> dict[str, str]:
    """Links of the root directory. They are relative: while a box is built, its root is not yet ``/``."""
    return {link: os.readlink(link).lstrip("/") for link in TOP_LINKS if os.path.islink(link)}


def _library_links(libraries: set[str]) -> dict[str, str]:
    """Links to the libraries: the loader looks for ``libz.so.1``, the file is ``libz.so.1.2.13``."""
    links = {}
    for folder in {os.path.realpath(each) for each in (*map(os.path.dirname, libraries), *LIBRARY_FOLDERS)}:
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            if entry.is_symlink() and (target := os.path.realpath(entry.path)) in libraries:
                links[entry.path] = target
    return links
