"""Work that is spread over threads: all of it, in order, whatever fails or waits."""

from __future__ import annotations

import threading
import time

import pytest

from neurodeploy.kernels.threads import each_part, share, side_by_side

MUCH = 1 << 30  # element updates


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    monkeypatch.setenv("NEURODEPLOY_THREADS", "4")


def test_results_come_in_the_order_of_the_jobs():
    def job(i):
        time.sleep(0.001 * (7 - i))
        return i

    assert side_by_side([lambda i=i: job(i) for i in range(8)], work=MUCH) == list(range(8))


def test_jobs_run_side_by_side_and_one_of_them_here():
    met = threading.Barrier(4, timeout=30)

    def job():
        met.wait()  # breaks unless four jobs are here at once
        return threading.get_ident()

    found = side_by_side([job] * 4, work=MUCH)
    assert len(set(found)) == 4
    assert threading.get_ident() in found


@pytest.mark.parametrize("wrong", [0, 3])
def test_what_a_job_raises_is_raised_here_once_all_that_have_begun_are_done(wrong):
    done, begun = [], threading.Barrier(4, timeout=30)

    def job(i):
        begun.wait()
        if i == wrong:
            raise IndexError(f"job {i}")
        time.sleep(0.02)
        done.append(i)

    with pytest.raises(IndexError, match=f"job {wrong}"):
        side_by_side([lambda i=i: job(i) for i in range(4)], work=MUCH)
    assert sorted(done) == [i for i in range(4) if i != wrong]


def test_jobs_may_spread_work_of_their_own():
    def inner(i):
        return sum(side_by_side([lambda j=j: 10 * i + j for j in range(4)], work=MUCH))

    found = side_by_side([lambda i=i: inner(i) for i in range(4)], work=MUCH)
    assert found == [40 * i + 6 for i in range(4)]


@pytest.mark.parametrize("samples", [1, 3, 4, 10])
def test_every_sample_is_in_one_part(samples):
    taken = []
    share(lambda first, last: taken.extend(range(first, last)), samples=samples, work=MUCH)
    assert sorted(taken) == list(range(samples))
    taken.clear()
    each_part(lambda first, last: taken.append((first, last)), samples, most=2, work=MUCH)
    assert sorted(i for part in taken for i in range(*part)) == list(range(samples))
    assert all(last - first <= 2 for first, last in taken)
