"""Reading ahead: the same items in the same order, errors where they are used, no thread left."""

import threading
from collections.abc import Iterator

import pytest

from offsite.training.read_ahead import read_ahead


def test_items_come_in_order_and_no_more_than_depth_ahead() -> None:
    read = []

    def items() -> Iterator[int | None]:
        for number in (1, None, 3, 4, 5, 6):
            read.append(number)
            yield number

    found = []
    for item in read_ahead(items(), 2):
        found.append(item)
        assert len(read) <= len(found) + 3  # two in the queue, one in the thread's hand
    assert found == [1, None, 3, 4, 5, 6]


def test_an_error_is_raised_where_the_items_are_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    found = read_ahead(items(), 2)
    assert next(found) == 1
    with pytest.raises(OSError, match="disk"):
        next(found)


def test_a_reader_that_leaves_early_leaves_no_thread() -> None:
    found = read_ahead(iter(range(1000)), 1)
    assert next(found) == 0
    found.close()
    assert not [t for t in threading.enumerate() if t.name == "read-ahead"]
