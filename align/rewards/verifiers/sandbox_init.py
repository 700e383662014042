"""Put one untrusted program into a box and wait for it; run as a file by :mod:`align.rewards.verifiers.sandbox`.

The steps, in this process and two children of it:

1. new namespaces: network (no interface is up), processes, mounts, System V IPC, host name; without root inside a new
   user namespace, which is what lets an ordinary user have the others;
2. child one is process 1 of the new process namespace: when it ends, the kernel kills all others in there. It builds a
   root directory in memory, of limited size, with the interpreter and system libraries mounted read-only, and enters
   it;
3. child two gives up its user and capabilities, sets its limits, and becomes the program. Programs in a ``chroot``
   cannot make namespaces of their own.

Input is one JSON object on stdin; child one writes one JSON object, how the program ended, to the descriptor that the
input names.
Only the standard library is used, and nothing of this project, so that starting is fast.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

NEW_MOUNTS, NEW_HOST, NEW_IPC, NEW_USER, NEW_PROCESSES, NEW_NETWORK = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
READ_ONLY, NO_SUID, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
DIE_WITH_PARENT, NO_NEW_PRIVILEGES = 1, 38
# systemd's range for users that exist only while a service runs. A user of its own per box makes the kernel's process
# limit exact: it counts all processes of a user, and does not bind root.
FIRST_USER, USERS = 61184, 4335
WORK = "/box"

SPARE = 5.0  # seconds beyond its limit after which a box ends by itself

LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    encoded = [a.encode() if isinstance(a, str) else a for a in arguments]
    if getattr(LIBC, name)(*encoded) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    flags = NEW_MOUNTS | NEW_HOST | NEW_IPC | NEW_PROCESSES | NEW_NETWORK
    call("unshare", flags if user == 0 else flags | NEW_USER)
    if user != 0:  # the program keeps the caller's number, in a namespace where it owns nothing
        for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as stream:
                stream.write(text)


def build_root(root: str, sources: list[str], size: int) -> None:
    """A file system in memory at ``root``, and in it what the interpreter needs, read-only."""
    call("mount", None, "/", None, RECURSIVE | PRIVATE, None)
    call("mount", "tmpfs", root, "tmpfs", NO_SUID | NO_DEVICES, f"size={size},nr_inodes=4096,mode=755")
    for source in sources:
        target = root + source
        if os.path.islink(source):  # /lib -> usr/lib on most systems
            os.symlink(os.readlink(source), target)
        elif os.path.exists(source):
            bind(source, target)


def bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    call("mount", source, target, None, BIND | RECURSIVE, None)
    # flags that the source was mounted with are locked in a user namespace, and must be named again
    kept = os.statvfs(target).f_flag & (NO_SUID | NO_DEVICES | 8)
    call("mount", None, target, None, BIND | REMOUNT | READ_ONLY | NO_SUID | kept, None)


def become(user: int) -> None:
    """Leave root for ``user``, without a way back."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def limit(limits: dict[str, int], processes: int | None) -> None:
    for name, value in (
        ("CPU", limits["cpu_seconds"]),
        ("AS", limits["memory"]),
        ("FSIZE", limits["file_size"]),
        ("NPROC", processes),
        ("NOFILE", 32),
        ("CORE", 0),
        ("MSGQUEUE", 0),
        ("MEMLOCK", 0),
    ):
        if value is not None:
            # one second between the signal that can be handled and the one that cannot
            hard = value + 1 if name == "CPU" else value
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, hard))


def process_limit(job: dict[str, Any], user: int | None) -> int | None:
    """The kernel counts a user's processes: those of the box if the user is its own, also this file's two if a user
    namespace is, and all that the caller runs if neither is."""
    processes = job["limits"]["processes"]
    if user is not None:
        return processes
    return processes + 2 if job["namespaces"] else None


def run_program(job: dict[str, Any], work: str, user: int | None) -> None:
    """Become the program. Never returns."""
    try:
        os.chdir(work)
        stdin = os.open("stdin", os.O_RDONLY)
        os.dup2(stdin, 0)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.setsid()
        if user is not None:
            become(user)
        limit(job["limits"], process_limit(job, user))
        call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        os.execve(job["command"][0], job["command"], {**job["environment"], "HOME": work, "TMPDIR": work})
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(126)


def prepare_work(job: dict[str, Any], work: str, user: int | None) -> None:
    os.makedirs(work, exist_ok=True)
    for name, text in {**job["files"], "stdin": job["stdin"]}.items():
        with open(os.path.join(work, name), "w", encoding="utf-8", errors="surrogatepass") as stream:
            stream.write(text)
    os.chmod(work, 0o700)
    if user is not None:
        os.chown(work, user, user)
        for name in os.listdir(work):
            os.chown(os.path.join(work, name), user, user)


def supervise(job: dict[str, Any], user: int | None) -> None:
    """Child one: build the box, start the program in it, wait, and report."""
    call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)

    def end(*_: Any) -> None:
        report(job, {"status": -signal.SIGALRM})
        os._exit(0)

    # should nobody be left to end the box in time; sent from inside, the signal is the program's own end
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, job["limits"]["seconds"] + SPARE)
    work = WORK
    if job["namespaces"]:
        build_root(job["root"], job["sources"], job["limits"]["disk"])
        os.chroot(job["root"])
    else:
        work = job["root"]
    prepare_work(job, work, user)
    child = os.fork()
    if child == 0:
        run_program(job, work, user)
    os.closerange(0, 3)  # the program alone holds the pipes that are read until they close
    while True:
        ended, status = os.wait()  # also the orphans that a process 1 inherits
        if ended == child:
            break
    report(job, {"status": os.waitstatus_to_exitcode(status)})


def report(job: dict[str, Any], message: dict[str, Any]) -> None:
    os.write(job["report"], json.dumps(message).encode())


def main() -> None:
    job = json.load(sys.stdin)
    user = FIRST_USER + os.getpid() % USERS if os.geteuid() == 0 else None
    try:
        if job["namespaces"]:
            enter_namespaces()
        child = os.fork()
        if child == 0:
            try:
                supervise(job, user)
            except BaseException as error:
                report(job, {"error": str(error) or type(error).__name__})
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    except OSError as error:
        report(job, {"error": str(error)})


if __name__ == "__main__":
    main()
