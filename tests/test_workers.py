"""Work in threads: order, bounds, errors."""

import threading
import time

import pytest

from utils.workers import in_threads


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_jobs(num_workers):
    def work(job):
        time.sleep(0.01 * (job % 3))
        return job * job

    assert list(in_threads(work, range(20), num_workers)) == [job * job for job in range(20)]


def test_jobs_are_made_only_a_few_ahead():
    made = []

    def jobs():
        for job in range(100):
            made.append(job)
            yield job

    ahead = [len(made) - done for done, _ in enumerate(in_threads(lambda job: job, jobs(), 2))]
    assert max(ahead) <= 6  # two per worker, one that is handed out and the next


def test_jobs_are_done_side_by_side():
    barrier = threading.Barrier(2, timeout=10)  # broken unless two wait at it at once
    assert len(list(in_threads(lambda job: barrier.wait(), range(4), 2))) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_first_error_ends_the_work(num_workers):
    done = []

    def work(job):
        if job == 3:
            raise ValueError("job three")
        done.append(job)

    with pytest.raises(ValueError, match="job three"):
        list(in_threads(work, range(1000), num_workers))
    assert len(done) < 20
