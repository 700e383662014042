"""Programs in C++ and JavaScript in the sandbox, and programs on a server with SandboxFusion's protocol."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from stand_in_fusion import fusion, reply

from align.rewards.verifiers import runners
from align.rewards.verifiers.program_languages import CPP, JAVASCRIPT, Language
from align.rewards.verifiers.programs import CodeAccuracy, program
from align.rewards.verifiers.references import reference_problem
from align.rewards.verifiers.runners import CompileError, LocalRunner
from align.rewards.verifiers.sandbox import Execution, Limits, SandboxError

READING = [{"input": f"{a} {b}\n", "output": f"{a + b}\n"} for a, b in ((2, 3), (10, 20))]
CALLING = [{"function": "add", "arguments": [a, b], "output": a + b} for a, b in ((2, 3), (10, 20))]
CPP_ADD = "#include <iostream>\nint main() { long long a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }"
JS_ADD = "const [a, b] = require('fs').readFileSync(0, 'utf8').split(/\\s+/).map(Number);\nconsole.log(a + b);"


@pytest.fixture(scope="module")
def term() -> CodeAccuracy:
    try:
        return CodeAccuracy(limits=Limits(cpu_seconds=2))
    except SandboxError as error:
        pytest.skip(str(error))


def response(label: str, code: str) -> str:
    return f"Here it is:\n```{label}\n{code}\n```\n"


def columns(language: str | None, tests: Any) -> dict[str, Any]:
    return {"verifier": "code", "tests": tests} | ({"programming_language": language} if language else {})


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript(term: CodeAccuracy, sample: Any) -> None:
    right = [
        (JS_ADD, READING),
        ("function add(a, b) { console.log('noise'); return a + b; }", CALLING),
        ("function add(a, b) { console.debug('noise'); console.dir([a]); console.table([b]); return a + b; }", CALLING),
        ("function add(a, b) { process.stdout.write('noise\\n'); console.group('x'); return a + b; }", CALLING),
        ("const fs = require('fs');\nfunction add(a, b) { fs.writeSync(1, 'noise'); return a + b; }", CALLING),
        (
            "const fs = require('fs');\nfunction add(a, b) { fs.writeFileSync('/dev/stdout', 'x'); return a + b; }",
            CALLING,
        ),
        ("const add = (a, b) => a + b;", CALLING),
        ("class Solution { add(a, b) { return a + b; } }", CALLING),
        ("module.exports = { add(a, b) { return a + b; } };", CALLING),
        ("export function add(a, b) { return a + b; }", CALLING),
        (JS_ADD.replace("readFileSync(0", "readFileSync('/dev/stdin'"), READING),
    ]
    wrong = [
        ("console.log(5);", READING),
        ("process.exit(0);", READING),
        ("throw new Error('x');", READING),
        ("console.log(require('fs').readFileSync('/etc/passwd', 'utf8'));", READING),
        (
            "const r = require('child_process').spawnSync('/bin/sh', ['-c', 'echo 5']); console.log(String(r.stdout));",
            READING,
        ),
        ("function add(a, b) { return 5; }", CALLING),
        ("function add(a, b) { return NaN; }", CALLING),
        ("function add(a, b) { return { valueOf: () => a + b }; }", CALLING),
        ("JSON.stringify = () => '5';\nfunction add(a, b) { return 5; }", CALLING),
        ("function sum(a, b) { return a + b; }", CALLING),
    ]
    made = [sample(response("js", code), columns=columns("javascript", tests)) for code, tests in (*right, *wrong)]
    found = term.explain(made)
    assert [score for score, _ in found] == [1.0] * len(right) + [0.0] * len(wrong)
    assert found[len(right) + 2][1].endswith("it ended with status 1: Error: x")


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_cpp(term: CodeAccuracy, sample: Any) -> None:
    attack = '#include <cstdio>\nint main() { FILE* f = fopen("/etc/passwd", "r"); printf(f ? "30\\n" : "no\\n"); }'
    codes = [
        CPP_ADD,
        "int main() { return x; }",
        attack,
        '#include "/etc/passwd"\nint main() {}',
        CPP_ADD.replace("a + b", "a - b"),
    ]
    made = [sample(response("c++", code), columns=columns("cpp", READING)) for code in codes]
    found = term.explain(made)
    assert [score for score, _ in found] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert "it does not compile" in found[1][1]
    assert "No such file" in found[3][1]
    assert "root:" not in found[3][1]


@pytest.mark.parametrize("language", [CPP, JAVASCRIPT], ids=lambda each: each.name)
def test_a_broken_compiler_or_interpreter_is_no_fault_of_the_program(
    language: Language, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run fails, as where a box lacks a library: no score, and not 0 for all programs."""
    failing = Execution(outcome="ended", status=127, stdout="", stderr="cannot find -lstdc++", seconds=0.1)

    class Broken:
        limits = Limits()

        def run_python(self, *_: Any, **__: Any) -> Execution:
            return failing

        def run(self, *_: Any, **__: Any) -> Execution:
            return failing

    monkeypatch.setattr(runners, "_needed", lambda name, language: f"/usr/bin/{name}")
    monkeypatch.setattr(runners, "_compiler_files", lambda compiler: None)
    monkeypatch.setattr(runners, "program_files", lambda program: None)
    runner = LocalRunner(Broken())  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(SandboxError, match=f"no program in {language.name} .* here: cannot find"):
            runner.prepare(language, "int main() {}", called=False)


def test_a_machine_that_cannot_compile_any_more_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(stdout: str = "", status: int = 0, stderr: str = "") -> Execution:
        return Execution(outcome="ended", status=status, stdout=stdout, stderr=stderr, seconds=0.1)

    class Box:
        limits = Limits()
        full = False

        def run_python(self, program: str, stdin: str, files: dict[str, str], **_: Any) -> Execution:
            if "compiled" in files:
                return run("1\n")
            if self.full:
                return run(status=1, stderr="cc1plus: No space left on device")
            return run("packed") if "return x" not in files["program.cpp"] else run("", 1, "program.cpp:1: no x")

    monkeypatch.setattr(runners, "_needed", lambda name, language: f"/usr/bin/{name}")
    monkeypatch.setattr(runners, "_compiler_files", lambda compiler: None)
    box = Box()
    runner = LocalRunner(box)  # type: ignore[arg-type]
    with pytest.raises(CompileError, match="no x"):
        runner.prepare(CPP, "int main() { return x; }", called=False)
    box.full = True
    with pytest.raises(SandboxError, match="No space left"):
        runner.prepare(CPP, CPP_ADD, called=False)


def test_a_language_without_its_program_has_no_score(
    term: CodeAccuracy, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners.shutil, "which", lambda name: None)
    before = term.errors["sandbox"]
    ((score, reason),) = term.explain([sample(response("cpp", CPP_ADD), columns=columns("c++", READING))])
    assert score is None
    assert "need g++, which is not on this machine" in reason
    assert term.errors["sandbox"] == before + 1


def test_a_compiler_without_its_static_libraries_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        _, _, name = command[1].rpartition("=")
        found = {"libc.a": "/lib/libc.a", "libstdc++.a": "libstdc++.a"}  # as g++ says of what it does not have
        return subprocess.CompletedProcess(command, 0, found.get(name, f"/bin/{name}") + "\n", "")

    monkeypatch.setattr(runners.subprocess, "run", run)
    monkeypatch.setattr(runners.shutil, "which", lambda name: name)
    with pytest.raises(SandboxError, match=r"/bin/g\+\+ lacks libstdc\+\+\.a, which programs are linked with"):
        runners._compiler_files.__wrapped__("/bin/g++")


def test_a_program_is_found_by_its_language(sample: Any) -> None:
    text = f"```python\nprint(1)\n```\n```cpp\n{CPP_ADD}\n```\n```js\n{JS_ADD}\n```\n```\nsome output\n```"
    assert program(sample(text), language=CPP) == f"{CPP_ADD}\n"
    assert program(sample(text), language=JAVASCRIPT) == f"{JS_ADD}\n"
    assert program(sample(text)) == "print(1)\n"
    assert program(sample(f"```\n{CPP_ADD}\n```\n```\n5\n```"), language=CPP) == f"{CPP_ADD}\n"


def test_prompts_whose_programs_cannot_be_tested_are_found_before_training() -> None:
    assert reference_problem("code", None, columns("javascript", CALLING)) is None
    assert reference_problem("code", None, columns("C++", READING)) is None
    assert "in cpp cannot be called" in str(reference_problem("code", None, columns("cpp", CALLING)))
    assert "'cobol' is none of python, cpp, javascript" in str(
        reference_problem("code", None, columns("cobol", READING))
    )


def test_programs_on_a_server(sample: Any) -> None:
    python = (
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "def add(a, b):\n    return a + b",
        "print(5)",
    )
    rows = [(python[0], READING, 1.0), (python[1], CALLING, 1.0), (python[2], READING, 0.0)]
    with fusion() as (url, requests):
        term = CodeAccuracy(url=f"{url}/", limits=Limits(seconds=9, memory=256 << 20), workers=1)
        made = [sample(response("python", code), columns=columns(None, tests)) for code, tests, _ in rows]
        assert term.score(made) == [want for *_, want in rows]
    first = requests[0]
    assert (first["path"], first["language"], first["stdin"]) == ("/run_code", "python", "2 3\n")
    assert (first["run_timeout"], first["memory_limit_MB"]) == (9, 256)
    assert "solution.py" in requests[2]["files"]


@pytest.mark.parametrize(
    ("language", "answer", "want", "reason"),
    [
        ("cpp", reply(stdout="5\n"), 0.0, "test 1 of 2: expected '30'"),
        ("javascript", reply(ran="TimeLimitExceeded"), 0.0, "took too long"),
        (
            "cpp",
            reply("Failed", compiled={"status": "Finished", "return_code": 1, "stderr": "no x"}),
            0.0,
            "compile: no x",
        ),
        ("cpp", reply("Failed", return_code=1, stderr="boom"), 0.0, "ended with status 1: boom"),
        ("cpp", reply(stdout="x" * 2_000_000), 0.0, "printed too much"),
        ("cpp", reply("SandboxError"), None, "SandboxError"),
        ("cpp", reply("Failed", ran="Error"), None, "status 'Error'"),
        ("cpp", {"status": "Success"}, None, "no result of a run"),
        ("cpp", [1], None, "gave no object"),
        ("cpp", b"not JSON", None, "gave no result"),
    ],
)
def test_replies_of_a_server(language: str, answer: Any, want: float | None, reason: str, sample: Any) -> None:
    def answered(request: dict[str, Any]) -> tuple[int, Any]:
        return 200, reply(stdout="1\n") if request["code"] in (CPP.sound, JAVASCRIPT.sound) else answer

    with fusion(answered) as (url, requests):
        term = CodeAccuracy(url=url, workers=1)
        term._runner.retries = 0
        code = CPP_ADD if language == "cpp" else JS_ADD
        ((score, why),) = term.explain([sample(response(language, code), columns=columns(language, READING))])
        assert score == want
        assert reason in why
        assert requests[0]["language"] == {"cpp": "cpp", "javascript": "nodejs"}[language]
    assert term.errors == ({"sandbox": 1} if want is None else {})


@pytest.mark.parametrize(
    "answer",
    [
        reply("Failed", compiled={"status": "Finished", "return_code": 127, "stderr": "g++: not found"}),
        reply("Failed", return_code=127, stderr="g++: not found"),
    ],
)
def test_a_server_without_a_compiler_is_no_fault_of_the_program(answer: Any, sample: Any) -> None:
    with fusion(lambda request: (200, answer)) as (url, _):
        term = CodeAccuracy(url=url, workers=1)
        ((score, why),) = term.explain([sample(response("cpp", CPP_ADD), columns=columns("cpp", READING))])
    assert score is None
    assert "g++: not found" in why


@pytest.mark.parametrize("arguments", [{"packages": ["sympy"]}, {"packages": []}, {"allow_unsandboxed": True}])
def test_settings_of_the_sandbox_do_nothing_on_a_server_and_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="with url leave them out"):
        CodeAccuracy(url="http://127.0.0.1:9", **arguments)


def test_a_server_that_fails_is_asked_again_and_then_there_is_no_score(sample: Any) -> None:
    made = [sample(response("python", "print(5)"), columns=columns(None, READING[:1]))]
    answers = iter(
        [(503, "busy"), (200, reply(stdout="5\n")), (503, "busy"), (503, "busy"), (503, "busy"), (404, "no")]
    )
    with fusion(lambda request: next(answers)) as (url, requests):
        term = CodeAccuracy(url=url, workers=1)
        assert term.score(made) == [1.0]
        assert term.score(made) == [None]
        assert term.score(made) == [None]
        assert len(requests) == 6  # a request that is wrong is not repeated
    term._runner.retries = 0
    assert term.score(made) == [None]  # nobody is there
    with pytest.raises(ValueError, match="must begin with http"):
        CodeAccuracy(url="localhost:8080")
