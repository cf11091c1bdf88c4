"""Children: each way to end is told apart, ends nobody else, and leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from offsite.children.budget import ORDINARY
from offsite.children.ended import ChildEnded, ChildrenClosed
from offsite.children.limits import Limits
from offsite.children.pool import HERE, Children
from tests.children import tasks

LIMITS = Limits(case_seconds=0.6, case_gib=0.1)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(2, LIMITS) as made:
        made.call(tasks.add, 1, 2)
        yield made


@pytest.mark.parametrize(
    ("task", "code", "saying"),
    [
        (tasks.loop, "timed_out", "--case-seconds"),
        (tasks.hold, "timed_out", "--case-seconds"),
        (tasks.abort, "crashed", "SIGABRT"),
        (tasks.segfault, "crashed", "SIGSEGV"),
        (tasks.leave, "crashed", "exit code 3"),
        (tasks.eat, "out_of_memory", "--case-gib"),
        (tasks.killed, "out_of_memory", "--workers"),
    ],
)
def test_each_end_is_told_apart_with_its_remedy(
    children: Children, task: Callable[[], None], code: str, saying: str
) -> None:
    start = time.monotonic()
    with pytest.raises(ChildEnded) as caught:
        children.call(task)
    assert (caught.value.code, saying in caught.value.message) == (code, True)
    assert time.monotonic() - start < 30
    # By its own limit it would end again; that the system had no memory may pass.
    assert (caught.value.limits == LIMITS) == (task in (tasks.loop, tasks.hold, tasks.eat))
    if task is tasks.abort:
        assert "width > 0" in caught.value.detail
        assert "in abort" in caught.value.detail
    assert children.call(tasks.add, 1, 2) == 3


def test_a_slow_task_keeps_no_other_waiting(children: Children) -> None:
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(children.call, tasks.loop)
        time.sleep(0.1)
        done = [children.call(tasks.add, number, 1) for number in range(50)]
        assert not slow.done()
        assert done == list(range(1, 51))
        assert isinstance(slow.exception(), ChildEnded)


def test_a_child_is_used_again_and_one_that_died_idle_is_no_task_s_fault(
    children: Children,
) -> None:
    first = children.call(tasks.process)
    assert children.call(tasks.process) == first != os.getpid()
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and Path(f"/proc/{first}").exists():
        time.sleep(0.01)
    assert children.call(tasks.add, 1, 2) == 3


@pytest.mark.parametrize("where", ["here", "children"])
def test_a_stream_comes_in_parts_and_may_be_left(children: Children, where: str) -> None:
    place = HERE if where == "here" else children
    assert list(place.stream(tasks.count, 5)) == [0, 1, 2, 3, 4]
    assert next(iter(place.stream(tasks.count, 10**9))) == 0
    faulty = place.stream(tasks.count, 5, fault_at=2)
    assert [next(faulty), next(faulty)] == [0, 1]
    with pytest.raises(ValueError, match="no such number"):
        next(faulty)
    assert place.call(tasks.add, 1, 2) == 3


def test_time_counts_for_each_part_of_a_stream_and_anew_where_a_task_goes_on(
    children: Children,
) -> None:
    assert list(children.stream(tasks.slow_parts, 4, 0.3)) == [0, 1, 2, 3]
    assert children.call(tasks.steady, 1.5) == "done"
    with pytest.raises(ChildEnded, match="not read within"):
        list(children.stream(tasks.slow_parts, 2, 5.0))


def test_an_error_that_cannot_be_sent_comes_in_words(children: Children) -> None:
    with pytest.raises(RuntimeError, match="Odd: odd"):
        children.call(tasks.odd)
    with pytest.raises(TypeError, match="unsupported operand"):
        children.call(tasks.add, 1, "a")


def test_of_large_pictures_one_is_decoded_at_a_time_and_waiting_is_no_fault(
    children: Children, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(children.call, tasks.large, ORDINARY + 1, 0.5, diary) for _ in "ab"]
        for wait in waits:  # together they take longer than either may
            wait.result()
    (_, first_end), (second_start, _) = sorted(
        tuple(map(float, line.split())) for line in diary.read_text().splitlines()
    )
    assert first_end <= second_start
    with pytest.raises(ChildEnded, match="SIGABRT"):
        children.call(tasks.large_and_gone, ORDINARY + 1)
    children.call(tasks.large, ORDINARY + 1, 0, diary)  # the room went with its holder
    diary.unlink()
    with ThreadPoolExecutor(2) as pool:
        for wait in [pool.submit(children.call, tasks.large, ORDINARY, 0.4, diary) for _ in "ab"]:
            wait.result()
    (_, first_end), (second_start, _) = sorted(
        tuple(map(float, line.split())) for line in diary.read_text().splitlines()
    )
    assert second_start < first_end, "ordinary ones go side by side"


def test_closing_ends_what_runs_at_once() -> None:
    made = Children(1, Limits())
    with ThreadPoolExecutor(1) as pool:
        endless = pool.submit(made.call, tasks.loop)
        while not made._busy and not endless.done():
            time.sleep(0.01)
        start = time.monotonic()
        made.close()
        assert isinstance(endless.exception(), ChildrenClosed)
    assert time.monotonic() - start < 10
    with pytest.raises(ChildrenClosed):
        made.call(tasks.add, 1, 2)


def test_a_child_that_keeps_memory_is_replaced_before_a_task_is_blamed(
    children: Children,
) -> None:
    first = children.call(tasks.process)
    for _ in range(40):  # each keeps 2 MiB: half of what a task may take is reached
        children.call(tasks.keep, 2 << 20)
    assert children.call(tasks.process) != first


SCRIPT = """
import sys
from offsite.children.pool import Children
from tests.children import tasks
print("begun", flush=True)
with Children(1) as children:
    print(children.call(tasks.process), flush=True)
    if "stay" in sys.argv:
        children.call(tasks.hold)
"""


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("begun")) == (0, 1), done.stderr


def test_a_folder_that_no_socket_fits_into_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(deep)},
    )  # fmt: skip
    assert "Set TMPDIR to a short path" in done.stderr


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", "stay"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdout is not None
    assert parent.stdout.readline() == "begun\n"
    child = Path(f"/proc/{parent.stdout.readline().strip()}")
    assert child.exists()
    time.sleep(0.5)  # it is in C code now, and no thread of it runs
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists()


@pytest.mark.parametrize("wait", [0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_child_that_is_killed_in_the_middle_of_a_result_is_waited_for_by_nobody(
    wait: float,
) -> None:
    children = Children(1)
    children.call(tasks.much, 0)  # it is there
    caller = threading.Thread(target=_called, args=(children,), daemon=True)
    caller.start()
    time.sleep(wait)
    closer = threading.Thread(target=children.close, daemon=True)
    closer.start()
    closer.join(20)
    caller.join(20)
    assert not closer.is_alive()
    assert not caller.is_alive()


def _called(children: Children) -> None:
    with contextlib.suppress(ChildEnded, ChildrenClosed):
        children.call(tasks.much, 400)
