"""Starts a program pinned to cores, waits for it, and writes its seconds, peak memory and exit code to a file descriptor.

    launch.py DESCRIPTOR CORES PROGRAM ARGUMENT…

A process of its own, and small: the peak that the kernel keeps for a process begins with that of who started it.
"""

import os
import sys
import time

descriptor, cores, *command = sys.argv[1:]
os.set_inheritable(int(descriptor), False)
os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
start = time.monotonic()
process = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(process, 0)
seconds = time.monotonic() - start
os.write(int(descriptor), f"{seconds} {usage.ru_maxrss * 1024} {os.waitstatus_to_exitcode(status)}".encode())
