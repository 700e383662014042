"""The seccomp filter of the sandbox: the system calls that a program may make, as a BPF program of the kernel.

The limits on a process do not bound what some system calls allocate (System V shared memory, message queues,
``memfd``), and namespaces do not isolate what others reach (kernel keyrings, ``AF_VSOCK``). An interpreter needs none
of them, so the kernel refuses them. Denied calls fail with EPERM. Calls newer than this table fail with ENOSYS, and so
does ``clone3``: its flags are in memory, where a filter cannot read them, and C libraries fall back on ``clone``. Calls
of another architecture end the program.

The instructions are those of ``struct sock_filter`` in ``linux/filter.h``, the data they read is
``struct seccomp_data`` in ``linux/seccomp.h``.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

# name: number on x86-64, number on arm64; None where the call does not exist
DENIED: dict[str, tuple[int | None, int | None]] = {
    # memory outside the limits on a process
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182),
    "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184),
    "mq_getsetattr": (245, 185),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "io_setup": (206, 0),  # the machine has one total of these for all programs
    "io_destroy": (207, 1),
    "io_submit": (209, 2),
    "io_cancel": (210, 3),
    "io_getevents": (208, 4),
    "io_pgetevents": (333, 292),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    # keys of the session and of the user
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # namespaces and file systems
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "sync": (162, 81),  # it would write out the disks of the machine
    "syncfs": (306, 267),
    # the machine, and parts of the kernel that have often been attacked
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "vmsplice": (278, 75),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "lookup_dcookie": (212, 18),
    "iopl": (172, None),
    "ioperm": (173, None),
    "uselib": (134, None),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "get_mempolicy": (239, 236),
    "set_mempolicy_home_node": (450, 450),
}
CLONE3, LAST = 435, 450  # LAST: the newest call that this table knows
FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
NEW_NAMESPACES = 0x7E020000  # all CLONE_NEW* flags of clone
X32 = 0x40000000  # set in the numbers of a second set of calls on x86-64


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor architecture: its AUDIT_ARCH number, its column in ``DENIED``, and calls whose arguments are read."""

    audit: int
    column: int
    clone: int
    socket: int
    prlimit64: int


MACHINES = {"x86_64": Machine(0xC000003E, 0, 56, 41, 302), "aarch64": Machine(0xC00000B7, 1, 220, 198, 261)}

# opcodes of linux/bpf_common.h
LOAD, EQUAL, GREATER, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16  # offsets; ARGUMENT: the low half of the first one, both are little-endian
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def seccomp_filter(machine: str) -> bytes | None:
    """The filter for a machine, an array of ``struct sock_filter``.

    Args:
        machine: as ``platform.machine()`` names it.

    Returns:
        ``None`` for an architecture whose numbers are not known here.
    """
    found = MACHINES.get(machine)
    if found is None:
        return None
    code = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, found.audit),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (GREATER, 0, 1, LAST),  # also all numbers of x32
        (RETURN, 0, 0, FAIL | errno.ENOSYS),
        (EQUAL, 0, 1, CLONE3),
        (RETURN, 0, 0, FAIL | errno.ENOSYS),
        # clone(flags, …): threads and processes, but no namespaces
        (EQUAL, 0, 4, found.clone),
        (LOAD, 0, 0, ARGUMENT),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, FAIL | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
        # socket(family, …)
        (EQUAL, 0, 6, found.socket),
        (LOAD, 0, 0, ARGUMENT),
        *[(EQUAL, len(FAMILIES) - place, 0, family) for place, family in enumerate(FAMILIES)],
        (RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
        # prlimit64(pid, …): the limits of the calling process alone, which is pid 0
        (EQUAL, 0, 4, found.prlimit64),
        (LOAD, 0, 0, ARGUMENT),
        (EQUAL, 1, 0, 0),
        (RETURN, 0, 0, FAIL | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    for numbers in DENIED.values():
        if (number := numbers[found.column]) is not None:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, FAIL | errno.EPERM)]
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
