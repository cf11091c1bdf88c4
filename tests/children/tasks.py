"""What tests have children do: it must be found by its name from another process."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from offsite.children import clock
from offsite.children.budget import room_for


def add(one: int, other: int) -> int:
    return one + other


def process() -> int:
    return os.getpid()


def loop() -> None:
    while True:
        pass


def hold() -> None:
    """C code that never lets another thread of the interpreter run."""
    sum(range(10**12))


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def abort() -> None:
    os.write(2, b"assertion failed: width > 0\n")
    os.abort()


def segfault() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(8 << 20))
        time.sleep(0.01)


_kept: list[bytes] = []


def keep(size: int) -> None:
    """A library that never gives memory back."""
    _kept.append(b"x" * size)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Odd(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__("odd")


def odd() -> None:
    raise Odd(1, 2)


def count(upto: int, fault_at: int = -1) -> Iterator[int]:
    for number in range(upto):
        if number == fault_at:
            raise ValueError("no such number")
        yield number


def slow_parts(parts: int, seconds: float) -> Iterator[int]:
    for number in range(parts):
        time.sleep(seconds)
        yield number


def steady(seconds: float) -> str:
    """Takes long, and says all the time that it goes on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        clock.tick()
    return "done"


def large(pixels: int, seconds: float, diary: Path) -> None:
    """Decodes a picture, and writes down from when to when."""
    with room_for(pixels):
        start = time.monotonic()
        time.sleep(seconds)
        with diary.open("a") as file:
            file.write(f"{start} {time.monotonic()}\n")


def large_and_gone(pixels: int) -> None:
    with room_for(pixels):
        os.abort()


def much(megabytes: int) -> bytes:
    """Return so much, which takes a while to send."""
    return bytes(megabytes << 20)
