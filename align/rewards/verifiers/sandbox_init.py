"""Put one untrusted program into a box and wait for it; run as a file by :mod:`align.rewards.verifiers.sandbox`.

The steps, in this process and two children of it:

1. this process joins the control group and leaves the session keyring; then new namespaces: network (no interface is
   up), processes, mounts, System V IPC, host name; without root inside a new user namespace, which is what lets an
   ordinary user have the others;
2. child one is process 1 of the new process namespace: when it ends, the kernel kills all others in there. It builds a
   root directory in memory, of limited size, with the files of the interpreter mounted read-only, and enters it;
3. child two gives up its user and capabilities, sets its limits and the filter of system calls, and becomes the
   program.

Input is one JSON object on stdin. Child one writes two JSON lines to the descriptor that the input names: that the
program starts, and how it ended. If the second one is missing, the program has ended the box, and it has failed. An
error before the first one is an error of the sandbox.
Only the standard library is used, and nothing of this project, so that starting is fast.
"""

from __future__ import annotations

import ctypes
import errno
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
DIE_WITH_PARENT, SET_FILTER, NO_NEW_PRIVILEGES = 1, 22, 38  # of prctl
FILTER_MODE = 2  # of SET_FILTER
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000  # the same number on all architectures
KEYCTL = {"x86_64": 250, "aarch64": 219}
JOIN_SESSION_KEYRING = 1
# systemd's range for users that exist only while a service runs. Each box has a user of its own: the kernel's limit of
# processes counts all processes of a user, and does not bind root.
FIRST_USER, USERS = 61184, 4335
WORK = "/box"

SPARE = 5.0  # seconds beyond its limit after which a box ends by itself
KILLED = {"status": -signal.SIGKILL}

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


def leave_keyring() -> None:
    """Take a new, empty session keyring in place of the caller's."""
    if (number := KEYCTL.get(os.uname().machine)) is not None:
        LIBC.syscall(number, JOIN_SESSION_KEYRING, None)  # if this fails, the filter still refuses all keys


def build_root(root: str, files: dict[str, Any], size: int) -> None:
    """A file system in memory at ``root``, and in it what the interpreter needs, read-only."""
    call("mount", None, "/", None, RECURSIVE | PRIVATE, None)
    call("mount", "tmpfs", root, "tmpfs", NO_SUID | NO_DEVICES, f"size={size},nr_inodes=4096,mode=755")
    for link, target in sorted(files["links"].items(), key=lambda each: each[0].count("/")):  # /lib first
        os.makedirs(os.path.dirname(root + link), exist_ok=True)
        os.symlink(target, root + link)
    for source in (*files["directories"], *files["files"]):
        bind(source, root + source)
    for source, path in files["packages"].items():
        bind(source, root + path)
    for path in files["hidden"]:
        call("mount", "tmpfs", root + path, "tmpfs", READ_ONLY | NO_SUID | NO_DEVICES, "size=4k,mode=555")


def bind(source: str, target: str) -> None:
    """Mount ``source`` at ``target``, read-only, without the file systems that are mounted below it."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    try:
        call("mount", source, target, None, BIND, None)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # in a user namespace the kernel does not separate a directory from the file systems below it
        call("mount", source, target, None, BIND | RECURSIVE, None)
    attributes = READ_ONLY | NO_SUID | (0 if source.startswith("/dev/") else NO_DEVICES)
    request = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)  # struct mount_attr; 1, 2 and 4 mean the same there
    if LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, request, ctypes.sizeof(request)) == 0:
        return
    if ctypes.get_errno() != errno.ENOSYS:
        raise OSError(ctypes.get_errno(), f"mount_setattr: {os.strerror(ctypes.get_errno())}")
    make_read_only(source, target)


def make_read_only(source: str, target: str) -> None:
    """Make a mount read-only on kernels before 5.12, which can do it for one mount at a time only.

    Raises:
        OSError: a file system is mounted below ``source``: it would stay writable.
    """
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        below = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{target}/")]
    if below:
        raise OSError(errno.EINVAL, f"{source} has file systems mounted below it, and this kernel is too old")
    # flags that the source was mounted with are locked in a user namespace, and must be named again
    kept = os.statvfs(target).f_flag & (NO_SUID | NO_DEVICES | 8)
    call("mount", None, target, None, BIND | REMOUNT | READ_ONLY | NO_SUID | kept, None)


def become(user: int) -> None:
    """Become ``user`` for good, without supplementary groups."""
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
        ("SIGPENDING", 1024),  # also timers
    ):
        if value is not None:
            # one second between the signal that can be handled and the one that cannot
            hard = value + 1 if name == "CPU" else value
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, hard))


def process_limit(job: dict[str, Any], user: int | None) -> int | None:
    """The kernel counts the processes of a user. With a user of its own these are the program's; in a user namespace
    this file's two processes count too; without either, all processes of the caller would, so there is no limit."""
    processes = job["limits"]["processes"]
    if user is not None:
        return processes
    return processes + 2 if job["namespaces"] else None


def run_program(job: dict[str, Any], work: str, user: int | None) -> None:
    """Replace this process by the program. Never returns."""
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
        install_filter(bytes.fromhex(job["filter"]))
        os.execve(job["command"][0], job["command"], {**job["environment"], "HOME": work, "TMPDIR": work})
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(126)


def install_filter(code: bytes) -> None:
    """Set a seccomp filter, an array of ``struct sock_filter`` of 8 bytes each; none if it is empty."""
    if not code:
        return

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    call("prctl", SET_FILTER, FILTER_MODE, ctypes.byref(Program(len(code) // 8, code)), 0, 0)


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

    # Process 1 receives from its namespace only signals that it handles. Python handles SIGINT; this does not.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Ends the box if nobody outside does. A program that sends the signal itself ends with the status of that signal.
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, job["limits"]["seconds"] + SPARE)
    work = WORK
    if job["namespaces"]:
        build_root(job["root"], job["mounted"], job["limits"]["disk"])
        os.chroot(job["root"])
    else:
        work = job["root"]
    prepare_work(job, work, user)
    report(job, {"started": True})
    job["started"] = True
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
    os.write(job["report"], json.dumps(message).encode() + b"\n")


def main() -> None:
    job = json.load(sys.stdin)
    user = FIRST_USER + os.getpid() % USERS if os.geteuid() == 0 else None
    try:
        if job["group"] is not None:
            with open(job["group"], "w", encoding="ascii") as stream:
                stream.write("0")  # this process
        leave_keyring()
        if job["namespaces"]:
            enter_namespaces()
        child = os.fork()
        if child == 0:
            try:
                supervise(job, user)
            except BaseException as error:  # once the program runs, it is the cause of every error
                report(job, KILLED if "started" in job else {"error": str(error) or type(error).__name__})
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    except OSError as error:
        report(job, {"error": str(error)})


if __name__ == "__main__":
    main()
