"""Runners of programs: in the sandbox of this machine, or on a server with SandboxFusion's protocol."""

from __future__ import annotations

import base64
import functools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from align.rewards.verifiers.program_languages import CPP, JAVASCRIPT, PYTHON, Language
from align.rewards.verifiers.sandbox import Execution, Limits, Sandbox, SandboxError
from align.rewards.verifiers.sandbox_files import Files, program_files

Run = Callable[[str], Execution]  # from stdin
STANDARD, PROGRAM = "-std=c++17", "program.cpp"
# In the box: compile, and print the program.
COMPILE = """
import base64, subprocess, sys, zlib
command = [{compiler!r}, "-O2", "-pipe", {standard!r}, "-static", "-o", "program", "program.cpp"]
done = subprocess.run(command, stderr=subprocess.PIPE)
if done.returncode:
    sys.exit(done.stderr[-2000:].decode(errors="replace"))
print(base64.b85encode(zlib.compress(open("program", "rb").read(), 1)).decode())
"""
# In the box: become the compiled program.
START = """
import base64, os, zlib
with open("compiled", "rb") as packed, open("program", "wb") as file:
    file.write(zlib.decompress(base64.b85decode(packed.read())))
os.unlink("compiled")
os.chmod("program", 0o700)
os.execv("program", ["program"])
"""
COMPILER_LIMITS = Limits(
    seconds=120, cpu_seconds=60, memory=2 << 30, processes=16, file_size=64 << 20, disk=256 << 20, output=32 << 20
)
NODE_MEMORY = 16 << 30  # address space; V8 reserves much more than it uses
NODE_PROCESSES = 16  # threads


class CompileError(Exception):
    """A program that does not compile; the message is the compiler's."""


class SoundLanguages:
    """The languages whose compiler or interpreter is known to work: a program that cannot fail has run with it.

    Without that a broken compiler would make every program a wrong one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sound: set[Language] = set()

    def check(self, language: Language, run: Callable[[], Execution], *, again: bool = False) -> None:
        """Run the program, once for all.

        Args:
            run: compiles and runs ``language.sound``.
            again: also if it has run before.

        Raises:
            SandboxError: it does not compile, or does not print what it should.
        """
        with self._lock:
            if language in self._sound and not again:
                return
            try:
                made = run()
            except CompileError as error:
                raise SandboxError(f"no program in {language.name} compiles here: {error}") from error
            if made.outcome != "ended" or made.status != 0 or made.stdout.strip() != "1":
                reason = made.stderr.strip()[-500:] or f"status {made.status}, {made.outcome}"
                raise SandboxError(f"no program in {language.name} runs here: {reason}")
            self._sound.add(language)


class Runner(Protocol):
    """Runs programs."""

    def prepare(self, language: Language, source: str, *, called: bool) -> Run:
        """A function that runs the program on a text.

        Args:
            called: the text names a function of the program and its arguments.

        Raises:
            CompileError: the program does not compile. SandboxError: it cannot be run, which is not its fault.
        """


class LocalRunner:
    """The sandbox; C++ needs ``g++`` on this machine, JavaScript ``node``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._sound = SoundLanguages()

    def prepare(self, language: Language, source: str, *, called: bool) -> Run:
        if language is PYTHON:  # the sandbox has run a program of it
            files = {"solution.py": source} if called else {}
            program = str(language.caller) if called else source
            return lambda stdin: self.sandbox.run_python(program, stdin, files)
        if language is JAVASCRIPT:
            self._sound.check(language, lambda: self._javascript(language.sound, False)(""))
            return self._javascript(source, called)
        assert language is CPP
        if called:
            raise SandboxError("functions of C++ programs cannot be called; give tests that read and print")
        self._sound.check(language, lambda: self._cpp(language.sound)(""))
        try:
            return self._cpp(source)
        except CompileError as error:
            if PROGRAM not in str(error):  # not about the program: the machine may lack memory or room by now
                self._sound.check(language, lambda: self._cpp(language.sound)(""), again=True)
            raise

    def _javascript(self, source: str, called: bool) -> Run:
        node = _needed("node", "JavaScript")
        limits = self.sandbox.limits
        heap = f"--max-old-space-size={max(limits.memory >> 21, 16)}"
        limits = replace(limits, memory=NODE_MEMORY, processes=NODE_PROCESSES)
        files = {"program.js": str(JAVASCRIPT.caller), "solution.js": source} if called else {"program.js": source}
        command = [node, heap, "--single-threaded", "program.js"]
        mounted = program_files(node)
        return lambda stdin: self.sandbox.run(command, files, stdin, more=mounted, limits=limits)

    def _cpp(self, source: str) -> Run:
        compiler = _needed("g++", "C++")
        program = COMPILE.format(compiler=compiler, standard=STANDARD)
        made = self.sandbox.run_python(
            program, "", {PROGRAM: source}, more=_compiler_files(compiler), limits=COMPILER_LIMITS
        )
        if made.outcome != "ended" or made.status != 0:
            reason = made.stderr.strip() or f"the compiler ended with status {made.status} ({made.outcome})"
            raise CompileError(reason)
        packed = made.stdout.strip()
        return lambda stdin: self.sandbox.run_python(START, stdin, {"compiled": packed})


def _needed(name: str, language: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SandboxError(f"programs in {language} need {name}, which is not on this machine; or name a server as url")
    return os.path.realpath(found)


@functools.cache
def _compiler_files(compiler: str) -> Files:
    """The compiler, its libraries and headers, and the programs that it starts."""

    def said(*words: str) -> str:
        done = subprocess.run([compiler, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    tools = {
        name: shutil.which(said(f"-print-prog-name={name}") or name) for name in ("as", "ld", "collect2", "cc1plus")
    }
    if missing := [name for name, path in tools.items() if path is None]:
        raise SandboxError(f"{compiler} lacks {', '.join(missing)}")
    own = os.path.dirname(os.path.realpath(said("-print-libgcc-file-name")))
    archives = {name: said(f"-print-file-name={name}") for name in ("libc.a", "libstdc++.a")}
    if missing := [name for name, path in archives.items() if not os.path.isabs(path)]:  # the bare name: not found
        raise SandboxError(f"{compiler} lacks {', '.join(missing)}, which programs are linked with")
    libraries = os.path.dirname(os.path.realpath(archives["libc.a"]))
    found = [program_files(path) for path in (compiler, *(os.path.realpath(str(path)) for path in tools.values()))]
    links = {f"/usr/bin/{name}": os.path.realpath(str(tools[name])) for name in ("as", "ld")}
    return Files(
        directories=sorted({own, libraries, "/usr/include"}),
        files=sorted({path for each in found for path in each.files}),
        hidden=[],
        links={link: target for link, target in links.items() if link != target},
    )


class FusionRunner:
    """A server with the protocol of SandboxFusion (https://github.com/bytedance/SandboxFusion): ``POST /run_code``.

    Args:
        url: of the server. limits: of one run; the server keeps time and memory.
        retries: further tries of a request that got no answer, or a server's error.

    Raises:
        ValueError: the URL is none.
    """

    def __init__(self, url: str, limits: Limits, retries: int = 2) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url={url!r} must begin with http:// or https://")
        self.url, self.limits, self.retries = url.rstrip("/"), limits, retries
        self._sound = SoundLanguages()

    def prepare(self, language: Language, source: str, *, called: bool) -> Run:
        if called and language.caller is None:
            raise SandboxError(
                f"functions of {language.name} programs cannot be called; give tests that read and print"
            )
        code = str(language.caller) if called else source
        files = {language.solution: base64.b64encode(source.encode()).decode()} if called else {}
        execute = self._runs(language, code, files)

        def run(stdin: str) -> Execution:
            fault: CompileError | None = None
            try:
                made = execute(stdin)
            except CompileError as error:
                fault = error
            if fault or made.status not in (0, None):
                self._sound.check(language, lambda: self._runs(language, language.sound, {})(""))
            if fault:
                raise fault
            return made

        return run

    def _runs(self, language: Language, code: str, files: Mapping[str, str]) -> Run:
        request = {
            "code": code,
            "language": language.fusion,
            "files": dict(files),
            "run_timeout": self.limits.seconds,
            "compile_timeout": COMPILER_LIMITS.seconds,
            "memory_limit_MB": self.limits.memory >> 20,
        }
        return lambda stdin: self._execution(self._asked(request | {"stdin": stdin}))

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        import httpx2

        patience = self.limits.seconds + COMPILER_LIMITS.seconds + 30
        problem = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(2.0**attempt / 4, 5.0))
            try:
                reply = httpx2.post(f"{self.url}/run_code", json=request, timeout=patience)
                if reply.status_code == 200:
                    body = reply.json()
                    if not isinstance(body, dict):
                        raise SandboxError(f"{self.url} gave no object")
                    return body
                problem = f"status {reply.status_code}: {reply.text[:200]}"
                if 400 <= reply.status_code < 500 and reply.status_code != 429:
                    break
            except (httpx2.HTTPError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
        raise SandboxError(f"{self.url}/run_code gave no result: {problem}")

    def _execution(self, reply: dict[str, Any]) -> Execution:
        """The run in a reply.

        Raises:
            CompileError: the program did not compile. SandboxError: the server failed, or the reply is none.
        """
        compiled, ran = reply.get("compile_result"), reply.get("run_result")
        if reply.get("status") not in ("Success", "Failed"):
            raise SandboxError(f"{self.url}: {reply.get('status')}: {str(reply.get('message'))[:200]}")
        if isinstance(compiled, dict) and not (
            compiled.get("status") == "Finished" and compiled.get("return_code") == 0
        ):
            if compiled.get("status") == "Error":
                raise SandboxError(f"{self.url}: the compiler failed: {str(compiled.get('stderr'))[:200]}")
            raise CompileError(str(compiled.get("stderr") or compiled.get("status"))[-2000:])
        if not isinstance(ran, dict) or not isinstance(ran.get("stdout", ""), str | None):
            raise SandboxError(f"{self.url} gave no result of a run: {str(reply)[:200]}")
        status = ran.get("status")
        if status == "TimeLimitExceeded":
            return self._made("time", None, ran)
        if status != "Finished" or not isinstance(ran.get("return_code"), int):
            raise SandboxError(f"{self.url}: the run has the status {status!r}: {str(ran.get('stderr'))[:200]}")
        if len(ran.get("stdout") or "") > self.limits.output:
            return self._made("output", None, ran)
        return self._made("ended", ran["return_code"], ran)

    def _made(self, outcome: Any, status: int | None, ran: dict[str, Any]) -> Execution:
        texts = {name: str(ran.get(name) or "") for name in ("stdout", "stderr")}
        return Execution(outcome=outcome, status=status, seconds=float(ran.get("execution_time") or 0.0), **texts)
