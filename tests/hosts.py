"""Two hosts on one machine: network namespaces with addresses of their own.

    python tests/hosts.py 0.02 'python train.py --host={host}'

runs a command on both, where the link takes 20 ms in each direction, and
`{host}` is 0 or 1. It needs Linux, root and `ip`. A host has a network, an
address, 10.77.0.1 or 10.77.0.2, and a name that leads to it; files and
processors are those of the machine. Without a delay, the hosts are joined by a
cable of the kernel (veth). With one, this program takes each packet and hands
it over later, since not every kernel can delay (`tc netem`).
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
_TUN, _NO_HEADER, _SET_TUN = 0x0001, 0x1000, 0x400454CA
_NEW_NETWORK = 0x40000000
_pairs = itertools.count()


def _ip(*command):
    done = subprocess.run(["ip", *command], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def why_not():
    """Returns why hosts cannot be made here, or an empty string."""
    if shutil.which("ip") is None:
        return "no program `ip` (package iproute2)"
    try:
        with two_hosts(delay=0.001):
            pass
    except OSError as error:
        return str(error)
    return ""


class Host:
    """One of the hosts: it runs programs, loses its power or its cable."""

    def __init__(self, name):
        self.name = name
        self._programs = []

    def start(self, command, log, **settings):
        """Starts a program, which writes what it prints to a file."""
        with open(log, "w") as file:
            program = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **settings},
            )
        self._programs.append(program)
        return program

    def kill(self):
        """Kills all its processes, as a loss of power does."""
        for number in _ip("netns", "pids", self.name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
        for program in self._programs:
            program.wait()

    def unplug(self):
        """Cuts the cable: nobody is told that the host is gone."""
        _ip("-n", self.name, "link", "set", "cable", "down")


@contextlib.contextmanager
def two_hosts(delay=0.0):
    """Makes two hosts, and removes them with all that runs on them.

    Args:
        delay: Seconds that a packet takes from one host to the other.
    """
    pair = f"{os.getpid()}-{next(_pairs)}"
    hosts = [Host(f"host{index}-{pair}") for index in range(2)]
    folders = [Path("/etc/netns", host.name) for host in hosts]
    relay = None
    try:
        for host, folder, address in zip(
            hosts, folders, ADDRESSES, strict=True
        ):
            _ip("netns", "add", host.name)
            folder.mkdir(parents=True)
            names = f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n"
            (folder / "hosts").write_text(names)
        if delay:
            for host in hosts:
                _ip("-n", host.name, "tuntap", "add", "cable", "mode", "tun")
            relay = subprocess.Popen(
                [
                    *(sys.executable, __file__, "relay", str(delay)),
                    *(host.name for host in hosts),
                ]
            )
        else:
            first, second = (host.name for host in hosts)
            _ip(
                *("-n", first, "link", "add", "cable", "type", "veth"),
                *("peer", "name", "cable", "netns", second),
            )
        for host, address in zip(hosts, ADDRESSES, strict=True):
            inside = ("-n", host.name)
            _ip(*inside, "addr", "add", f"{address}/24", "dev", "cable")
            _ip(*inside, "link", "set", "cable", "up")
            _ip(*inside, "link", "set", "lo", "up")
        yield hosts
    finally:
        if relay is not None:
            relay.kill()
            relay.wait()
        for host, folder in zip(hosts, folders, strict=True):
            with contextlib.suppress(OSError):
                host.kill()
            with contextlib.suppress(OSError):
                _ip("netns", "del", host.name)
            shutil.rmtree(folder, ignore_errors=True)


def _cable_of(name):
    """Returns a file of the packets that a host sends and receives."""
    with open(f"/var/run/netns/{name}") as network:
        if ctypes.CDLL(None).setns(network.fileno(), _NEW_NETWORK):
            raise OSError(f"cannot enter the network of {name}")
    packets = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(
        packets, _SET_TUN, struct.pack("16sH22x", b"cable", _TUN | _NO_HEADER)
    )
    return packets


def relay_packets(delay, names):
    """Hands packets from host to host, each after a delay in seconds."""
    first, second = (_cable_of(name) for name in names)
    other = {first: second, second: first}
    waiting, number = [], itertools.count()
    while True:
        left = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([first, second], [], [], left)
        for cable in ready:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(cable, 65536)
                    due = time.monotonic() + delay
                    heapq.heappush(
                        waiting, (due, next(number), other[cable], packet)
                    )
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, cable, packet = heapq.heappop(waiting)
            # A cable that is down loses them.
            with contextlib.suppress(OSError):
                os.write(cable, packet)


def main(delay, command):
    with two_hosts(float(delay)) as hosts:
        running = [
            host.start(
                ["sh", "-c", command.replace("{host}", str(index))],
                f"host{index}.log",
            )
            for index, host in enumerate(hosts)
        ]
        return max(process.wait() for process in running)


if __name__ == "__main__":
    if sys.argv[1] == "relay":
        relay_packets(float(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(main(*sys.argv[1:]))
