"""Runs a program in one of two network namespaces with a line between them, on which each packet takes as long as the program says.

    unshare --user --map-root-user --net python3 line.py PROGRAM [ARGUMENT]...

The program gets `--line PID` after its arguments: /proc/PID/ns/net is the namespace at the other end, where 10.77.0.2 is. It sets the
delay of each direction by a datagram to 127.0.0.1:7707, in seconds, and gets it back when the delay is in force.

`tc netem` would do the same where a kernel has it. The line is a pair of TUN devices: packets are whole segments of TCP of at most
64 KiB, which the kernels at both ends split and join in steps of 1,460 bytes as a network card does. Bandwidth has no limit, nothing
is lost, and the order is kept.
"""

import collections
import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
CLONE_NEWNET = 0x40000000
LARGEST = 70_000


def device(address, peer):
    """A TUN device in this namespace, which is up."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    for command in (
        "ip link set lo up",
        f"ip address add {address} peer {peer} dev line",
        "ip link set line up mtu 1500 txqueuelen 10000",
    ):
        subprocess.run(command.split(), check=True)
    return tun


def main():
    near_namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near = device("10.77.0.1", "10.77.0.2")
    control.bind(("127.0.0.1", 7707))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    far = device("10.77.0.2", "10.77.0.1")

    def enter():
        if libc.setns(near_namespace, CLONE_NEWNET) != 0:
            os._exit(1)

    program = subprocess.Popen([*sys.argv[1:], "--line", str(os.getpid())], preexec_fn=enter)
    try:
        carry(near, far, control, program)
    finally:
        program.kill()
    sys.exit(program.wait())


def carry(near, far, control, program):
    """Hands each packet on after the delay, until the program has ended."""
    delay = 0.0
    ways = {near: (far, collections.deque()), far: (near, collections.deque())}
    while program.poll() is None:
        dues = [waiting[0][0] for _, waiting in ways.values() if waiting]
        # The program's end is seen at the latest after that.
        wait = min([0.2, *(due - time.monotonic() for due in dues)])
        ready, _, _ = select.select([near, far, control], [], [], max(wait, 0.0))
        for source in ready:
            if source is control:
                message, sender = control.recvfrom(64)
                delay = float(message)
                control.sendto(message, sender)
                continue
            waiting = ways[source][1]
            due = time.monotonic() + delay
            try:
                # Not without end: the other direction has packets that are due.
                for _ in range(64):
                    waiting.append((due, os.read(source, LARGEST)))
            except BlockingIOError:
                pass
        now = time.monotonic()
        for to, waiting in ways.values():
            while waiting and waiting[0][0] <= now:
                os.write(to, waiting.popleft()[1])


main()
