"""Moves bytes between pairs of connected sockets: a process of its own, started by addresses.py, which decides who may
connect.

It gets the pairs over a Unix socket (its file descriptor is the only argument) and ends when that closes. Each
direction is closed by itself, and a side that does not read holds up only the other side of its own pair.
"""

import resource
import selectors
import socket
import struct
import sys

BUFFER_BYTES = 256 * 1024
READ_BYTES = 64 * 1024


class Side:
    """One end of a pair: what was read from the other end waits here until this one takes it."""

    def __init__(self, end: socket.socket):
        self.end = end
        self.other: Side
        self.waiting = bytearray()
        self.read_all = False  # this end has said that it sends no more
        self.told = False  # this end was told that no more comes
        self.events = 0


def watch(selector: selectors.BaseSelector, side: Side) -> None:
    wanted = 0
    if not side.read_all and len(side.other.waiting) < BUFFER_BYTES:
        wanted |= selectors.EVENT_READ
    if side.waiting:
        wanted |= selectors.EVENT_WRITE
    if wanted == side.events:
        return
    if not side.events:
        selector.register(side.end, wanted, side)
    elif not wanted:
        selector.unregister(side.end)
    else:
        selector.modify(side.end, wanted, side)
    side.events = wanted


def read(side: Side) -> None:
    data = side.end.recv(READ_BYTES)
    if not data:
        side.read_all = True
        return
    other = side.other
    if not other.waiting:
        try:
            data = data[other.end.send(data) :]
        except BlockingIOError:
            pass
    other.waiting += data


def write(side: Side) -> None:
    del side.waiting[: side.end.send(side.waiting)]


def tell(side: Side) -> None:
    """Close the direction towards this end once all has arrived."""
    if side.other.read_all and not side.waiting and not side.told:
        side.told = True
        side.end.shutdown(socket.SHUT_WR)


def drop(selector: selectors.BaseSelector, side: Side, broken: bool) -> None:
    for one in (side, side.other):
        if one.events:
            selector.unregister(one.end)
            one.events = 0
        if broken:  # the other side must see a reset too, not an orderly end
            one.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.end.close()


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    orders = socket.socket(fileno=int(sys.argv[1]))
    selector = selectors.DefaultSelector()
    selector.register(orders, selectors.EVENT_READ, None)
    while True:
        for key, ready in selector.select():
            side = key.data
            if side is None:
                message, descriptors, _, _ = socket.recv_fds(orders, 1, 2)
                if not message:
                    return
                one, two = (Side(socket.socket(fileno=descriptor)) for descriptor in descriptors)
                one.other, two.other = two, one
                for end in (one, two):
                    end.end.setblocking(False)
                    watch(selector, end)
                continue
            if not side.events:
                continue  # its pair was dropped an instant ago
            try:
                if ready & selectors.EVENT_READ and not side.read_all:
                    read(side)
                if ready & selectors.EVENT_WRITE and side.waiting:
                    write(side)
                tell(side)
                tell(side.other)
            except BlockingIOError:
                pass
            except OSError:
                drop(selector, side, broken=True)
                continue
            if side.told and side.other.told:
                drop(selector, side, broken=False)
                continue
            watch(selector, side)
            watch(selector, side.other)


if __name__ == "__main__":
    main()
