"""A job key has one run: of those that processes make at one moment, all of them keep the same."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.runs import CLAIM, GIVEN_UP, JOB_KEY, KEPT, agreed
from offsite.evaluation.tracking.store import client_of


@pytest.fixture
def client(store):
    return client_of(store)


@pytest.fixture
def place(client):
    return client.create_experiment("races")


def made(client, place, start_time: int, claim: str | None = None) -> str:
    """A run as another process makes it, with the time of that process."""
    run = client.create_run(place, start_time=start_time, tags={JOB_KEY: "k"})
    if claim:
        client.log_param(run.info.run_id, CLAIM, claim)
    return run.info.run_id


def active(client, place) -> list[str]:
    return [run.info.run_id for run in client.search_runs([place])]


def test_a_run_that_is_in_use_stays_though_a_later_one_bears_an_earlier_time(client, place):
    used = agreed(client, place, "one", "k").info.run_id
    made(client, place, start_time=1)
    assert agreed(client, place, "one", "k").info.run_id == used
    assert active(client, place) == [used]


def test_of_runs_that_nobody_uses_yet_the_earliest_is_kept(client, place):
    late, early = made(client, place, 20), made(client, place, 10)
    assert agreed(client, place, "one", "k").info.run_id == early
    assert active(client, place) == [early]
    assert client.get_run(early).data.params[CLAIM] == KEPT
    assert client.get_run(late).data.params[CLAIM] == GIVEN_UP


def test_what_a_dead_process_gave_up_is_not_taken_again(client, place):
    given_up = made(client, place, 10, GIVEN_UP)
    other = made(client, place, 20)
    assert agreed(client, place, "one", "k").info.run_id == other
    client.delete_run(other)
    last = agreed(client, place, "one", "k").info.run_id
    assert active(client, place) == [last]
    assert last not in (given_up, other)


def test_processes_without_a_lock_agree_on_one_run(store, client, place):
    together = threading.Barrier(4)

    def ask(_: int) -> str:
        own = client_of(store)
        together.wait()
        return agreed(own, place, "one", "k").info.run_id

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len(set(found)) == 1
    assert active(client, place) == found[:1]


def test_processes_that_log_a_job_together_write_each_metric_once(store, monkeypatch):
    curves = [{"epoch": epoch, "losses": {"loss": 1 / (epoch + 1)}} for epoch in range(3)]
    from offsite.evaluation.tracking import logging as tracking

    whole = tracking._log_texts

    def late(*given):
        """Another process, that began before the first had written anything."""
        monkeypatch.setattr(tracking, "_log_texts", whole)
        monkeypatch.setattr("time.time", lambda: 4e9)
        log_run(store, "races", "one", job_key="k", curves=curves)
        monkeypatch.undo()
        whole(*given)

    monkeypatch.setattr(tracking, "_log_texts", late)
    run = log_run(store, "races", "one", job_key="k", curves=curves)
    history = client_of(store).get_metric_history(run, "train/loss")
    assert sorted((metric.step, metric.value) for metric in history) == [
        (0, 1),
        (1, 0.5),
        (2, 1 / 3),
    ]
