"""A filter for system calls, as a program for the kernel's seccomp.

Refused is what no lab needs and what would lead out of the limits: memory that belongs to no
process (memfd, System V), namespaces with file systems of their own, other processes' memory.
"""

import struct

CALLS = {  # name: number on x86_64, on aarch64
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "clone3": (435, 435),  # its flags cannot be read by a filter; C libraries then take clone
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
MACHINES = {"x86_64": (0, 0xC000003E, 56), "aarch64": (1, 0xC00000B7, 220)}  # column, arch, clone
NEW_USER = 0x1000_0000  # the flag of clone for a user namespace, with which all others come
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0000 | 38  # ENOSYS: "this kernel has no such call"


def filter_of(machine: str) -> bytes:
    """The program for a machine as platform.machine() names it; empty for an unknown one."""
    if machine not in MACHINES:
        return b""
    column, arch, clone = MACHINES[machine]
    # each step: operation, operand, where to go if true and if false ("" is the next step)
    steps = [(LOAD, 4, "", ""), (EQUAL, arch, "", "refuse"), (LOAD, 0, "", "")]
    steps += [(AT_LEAST, 0x4000_0000, "refuse", "")]  # x32, a second set of numbers
    steps += [(EQUAL, numbers[column], "refuse", "") for numbers in CALLS.values()]
    steps += [(EQUAL, clone, "", "allow"), (LOAD, 16, "", ""), (ANY_BIT, NEW_USER, "refuse", "")]
    steps += [(RETURN, ALLOW, "", ""), (RETURN, REFUSE, "", "")]
    places = {"allow": len(steps) - 2, "refuse": len(steps) - 1}
    program = b""
    for here, (code, operand, true, false) in enumerate(steps):
        jumps = [places[to] - here - 1 if to else 0 for to in (true, false)]
        program += struct.pack("=HBBI", code, *jumps, operand)
    return program
