"""Small fits compute on one thread, large ones on torch's; whoever set a number has decided."""

import pytest
import torch
from slides_on_disk import settings
from threadpoolctl import threadpool_info, threadpool_limits

from offsite.cores import SMALL_WORK, threads_that_pay
from offsite.pathology import training
from offsite.pathology.slides_of_run import select_slides


@pytest.fixture
def _two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("_two_threads")
def test_threads_are_chosen_by_the_work_and_put_back(monkeypatch):
    with threads_that_pay(SMALL_WORK / 2) as small:
        assert small == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads_that_pay(SMALL_WORK) as large:
        assert large == torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threads_that_pay(1.0) as decided:
        assert decided == 2


@pytest.mark.usefixtures("_two_threads")
def test_a_run_of_few_slides_trains_on_one_thread(monkeypatch, cohort, folder, tmp_path):
    seen: dict[str, set[int]] = {}

    def watch(holder, name):
        asked = getattr(holder, name)

        def watched(*given, **named):
            threads = {
                pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
            }
            seen.setdefault(name, set()).update({torch.get_num_threads(), *threads})
            return asked(*given, **named)

        monkeypatch.setattr(holder, name, watched)

    with threadpool_limits(2, user_api="blas"):
        watch(training.ScMil, "step")
        watch(training, "inputs_of")
        watch(training, "predict_all")
        training.train_pathology(cohort, folder, settings(epochs=1), tmp_path / "run")
        left = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    assert seen == {"step": {1}, "inputs_of": {1}, "predict_all": {1}}
    assert torch.get_num_threads() == 2
    assert left == {2}


def test_the_work_is_that_of_the_bags_as_they_are_drawn(cohort, folder):
    slides = select_slides(cohort, folder, "slide", 2.0)
    few, many = settings(epochs=2), settings(epochs=6)
    works = [training.multiplications(slides, s) for s in (few, many)]
    assert works[1] == pytest.approx(3 * works[0])
    counts, bags = slides.store.counts, slides.bags.slides
    drawn = [min(sum(counts[s] for s in bags[bag]), 16) for bag in slides.training_bags()]
    validated = sum(counts[s] for bag in slides.validation_bags() for s in bags[bag])
    steps = training.batch_source(slides, few).steps(0)
    rows = 2 * (3 * steps * 8 * sum(drawn) / len(drawn) + validated)
    assert works[0] == pytest.approx(rows * 5 * 16)
