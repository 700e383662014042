"""Accuracy of programs: they run against test cases, in a sandbox or on a server of sandboxes.

The expected output is never inside the sandbox with the program, and its verdict is not its own: outputs are compared
here.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from align.rewards.parsing import last_tagged, split_response, uses_verifier
from align.rewards.terms import Sample
from align.rewards.verifiers.cases import cases_of, same_output, same_value
from align.rewards.verifiers.program_languages import NOT_CALLED, PYTHON, Language, language_of
from align.rewards.verifiers.runners import CompileError, FusionRunner, LocalRunner, Run, Runner
from align.rewards.verifiers.sandbox import PACKAGES, Limits, Sandbox, SandboxError
from reward_models.data.program_tests import Case, has_cases

FENCE = re.compile(r"(?P<before>[^\n`~]{0,200}?)(?P<fence>`{3,}|~{3,})[ \t]*(?P<label>[^\n`]*)")
# What programs of contests leave out, because the judge has it: names, and where they come from.
USUAL = {
    "typing": "List Dict Tuple Set Optional Union Any Deque DefaultDict Callable Iterable Iterator Sequence Mapping",
    "collections": "defaultdict deque OrderedDict Counter namedtuple ChainMap",
    "heapq": "heappush heappop heapify heappushpop heapreplace nlargest nsmallest",
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "itertools": "accumulate permutations combinations product chain groupby count cycle pairwise zip_longest",
    "functools": "lru_cache cache reduce cmp_to_key",
    "math": "inf gcd sqrt ceil floor comb factorial isqrt lcm pi log log2",
}
MODULES = (
    "sys",
    "math",
    "re",
    "collections",
    "heapq",
    "bisect",
    "itertools",
    "functools",
    "string",
    "random",
    "operator",
)
NODE_ERROR = re.compile(r"(?:Uncaught |FATAL ERROR|[A-Za-z]*Error\b)")
FUTURE = re.compile(r"\A(?:\s*(?:#[^\n]*)?\n|\s*from\s+__future__\s+import\s+[^\n]+\n)*")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome for one program: ``verdict`` is ``None`` if there is none, and ``error`` then counts it."""

    verdict: bool | None
    reason: str
    error: str = ""


class CodeAccuracy:
    """1.0 if the program passes every test case of its prompt, else 0.0, also if there is no program.

    The program is the last block of its language in the ``<answer>``, or in the summary if there is none; see
    :func:`program`. The language is in the prompt's column ``programming_language``: ``python`` (the default; run by
    this interpreter), ``javascript`` (by ``node``) or ``cpp`` (compiled once, with ``g++``). ``None`` where tests are
    malformed or the sandbox fails; ``errors`` counts these. Layouts of tests: :mod:`reward_models.data.program_tests`.

    Args:
        workers: programs that run at the same time.
        limits: of one run; the time is per test case.
        packages: installed packages that programs may import; default: numpy, if it is installed. See
            :class:`align.rewards.verifiers.sandbox.Sandbox`.
        allow_unsandboxed: see :class:`align.rewards.verifiers.sandbox.Sandbox`.
        url: of a server with SandboxFusion's protocol, which runs all programs in place of this machine.

    Raises:
        SandboxError: programs cannot be isolated here.
        ValueError: ``packages`` or ``allow_unsandboxed`` beside ``url``, whose server decides both.
    """

    name = "accuracy_code"

    def __init__(
        self,
        *,
        workers: int = 2,
        limits: Limits | None = None,
        packages: Sequence[str] | None = None,
        allow_unsandboxed: bool = False,
        url: str | None = None,
    ):
        self.errors: Counter[str] = Counter()
        self._runner: Runner
        if url is not None:
            if packages is not None or allow_unsandboxed:
                raise ValueError("packages and allow_unsandboxed are of the sandbox here; with url leave them out")
            self._runner = FusionRunner(url, limits or Limits())
        else:
            packages = PACKAGES if packages is None else packages
            self.sandbox = Sandbox(limits, packages=packages, allow_unsandboxed=allow_unsandboxed)
            self._runner = LocalRunner(self.sandbox)
        self._workers = workers

    def applies(self, sample: Sample) -> bool:
        return uses_verifier(sample, "code") and has_cases(sample.columns)

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with the first test that failed, or why there is none."""
        with ThreadPoolExecutor(self._workers) as threads:
            judged = list(threads.map(self._judge, samples))
        self.errors.update(each.error for each in judged if each.error)
        return [(None if each.verdict is None else float(each.verdict), each.reason) for each in judged]

    def _judge(self, sample: Sample) -> Judgement:
        try:
            tests, language = cases_of(sample.columns), language_of(sample.columns)
            if language.caller is None and any(test.function is not None for test in tests):
                raise ValueError(NOT_CALLED.format(language.name))
        except ValueError as error:
            return Judgement(None, f"the tests cannot be used: {error}", "tests")
        source = program(sample, tests[0].function, language)
        if source is None:
            return Judgement(False, f"there is no program: no block of {language.name}, and no code in <answer>")
        try:
            source.encode()
        except UnicodeEncodeError:
            return Judgement(False, "the program holds half of a surrogate pair, which is no text")
        if language is PYTHON:
            source = with_usual_imports(source)
        try:
            runs: dict[bool, Run] = {}
            for number, test in enumerate(tests):
                called = test.function is not None
                if called not in runs:
                    runs[called] = self._runner.prepare(language, source, called=called)
                if fault := self._fault(runs[called], test):
                    return Judgement(False, f"test {number} of {len(tests)}: {fault}")
        except CompileError as error:
            return Judgement(False, f"it does not compile: {error}")
        except SandboxError as error:
            return Judgement(None, f"the sandbox failed: {error}", "sandbox")
        return Judgement(True, f"all {len(tests)} tests passed")

    def _fault(self, execute: Run, test: Case) -> str:
        """The error of the program on a test, as a sentence; empty if there is none."""
        if test.function is None:
            run = execute(test.stdin)
        else:
            run = execute(json.dumps({"function": test.function, "arguments": json.loads(test.stdin)}))
        if run.outcome != "ended":
            return {"time": "it took too long", "output": "it printed too much"}[run.outcome]
        if run.status != 0:
            return f"it ended with status {run.status}: {_error_line(run.stderr)[:200]}"
        if test.function is None:
            passed = same_output(test.output, run.stdout)
        else:
            try:
                passed = same_value(test, run.stdout)
            except ValueError:
                return f"{test.function} returned no JSON value"
        return "" if passed else f"expected {test.output.strip()[:80]!r}, got {run.stdout.strip()[:80]!r}"


def _error_line(stderr: str) -> str:
    """The line that names the error: Python's last one; in node's report, the last that is no place in the code."""
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    if lines and (lines[-1].startswith("Node.js v") or lines[-1].endswith("node]")):
        lines = [line for line in lines if NODE_ERROR.match(line)] or lines
    return lines[-1] if lines else "no message"


def program(sample: Sample, function: str | None = None, language: Language = PYTHON) -> str | None:
    """The program a response gives, or ``None``.

    It is the last fenced block labelled as the language; without such a block the last one without a label that looks
    like code, or else the last without a label; without a fence the text of ``<answer>``, or without that the whole
    summary if it looks like code. A block that was not closed counts.

    Args:
        function: the last block that defines it, or a class ``Solution``, goes before later ones.
        language: of the program.
    """
    summary = split_response(sample).summary or ""
    tagged = last_tagged(summary)
    found = blocks(summary if tagged is None else tagged)
    labelled = [body for label, body in found if language.label.match(label)]
    bare = [body for label, body in found if not label]
    coded = [body for body in bare if language.code.search(body)]
    choices = labelled or coded or bare
    if function is not None:
        defines = re.compile(language.defines.replace("{name}", re.escape(function)), re.MULTILINE)
        choices = [body for body in choices if defines.search(body)] or choices
    if choices:
        return choices[-1]
    if found:
        return None
    if tagged is None:
        return summary if language.code.search(summary) else None
    return tagged.strip() or None


def blocks(text: str) -> list[tuple[str, str]]:
    """Label and content of each fenced block; one that is not closed ends with the text."""
    found: list[tuple[str, str]] = []
    fence = label = ""
    lines: list[str] = []
    quoted = False
    for line in text.replace("\r\n", "\n").splitlines():
        if fence:
            line = re.sub(r"^\s*> ?", "", line) if quoted else line
            stripped = line.strip()
            if stripped.startswith(fence) and not stripped.strip(fence[0]):
                found.append((label, _body(lines)))
                fence = ""
            else:
                lines.append(line)
        elif opening := FENCE.fullmatch(line):
            fence, label, lines = opening["fence"], opening["label"].strip(), []
            quoted = opening["before"].strip() == ">"
    if fence and lines:
        found.append((label, _body(lines)))
    return found


def _body(lines: list[str]) -> str:
    body = "".join(f"{line}\n" for line in lines)
    return textwrap.dedent(body) if lines and lines[0][:1].isspace() else body


def with_usual_imports(source: str) -> str:
    """``source`` with imports, in its first line, of the usual names that occur in it."""
    words = set(re.findall(r"[A-Za-z_]\w*", source))
    wanted = [f"import {name}" for name in MODULES if name in words]
    for module, names in USUAL.items():
        if used := [name for name in names.split() if name in words]:
            wanted.append(f"from {module} import {', '.join(used)}")
    if not wanted:
        return source
    start = FUTURE.match(source)
    place = start.end() if start and "__future__" in start.group() else 0
    return source[:place] + "; ".join(wanted) + "\n" + source[place:]
