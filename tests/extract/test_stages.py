"""Stages that run at once: order, bounds, errors, teardown."""

import threading
import time

import pytest

from avr.core import Stages


def test_results_come_in_order_and_stages_overlap():
    with Stages() as stages:

        def slow(item):
            time.sleep(0.05 if item % 3 == 0 else 0.001)
            return item

        first = stages.map("first", slow, range(20), threads=4)
        assert list(stages.map("second", lambda item: item * 10, first)) == [10 * item for item in range(20)]
        assert stages.busy["first"].seconds > 7 * 0.05
        assert stages.busy["first"].threads == 4


def test_a_fast_stage_waits_for_a_slow_consumer():
    started = []
    with Stages() as stages:
        results = stages.map("fast", lambda item: started.append(item) or item, range(100), threads=2, ahead=3)
        next(results)
        time.sleep(0.3)
        assert len(started) <= 6  # one taken, two threads, three ahead


def test_an_error_reaches_the_consumer_and_all_threads_end():
    def fails(item):
        if item == 5:
            raise ZeroDivisionError("five")
        return item

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="five"), Stages() as stages:
        list(stages.map("last", lambda item: item, stages.map("fails", fails, iter(range(1000)))))
    assert threading.active_count() == before


def test_an_error_of_the_source_reaches_the_consumer():
    def source():
        yield 1
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"), Stages() as stages:
        list(stages.map("stage", lambda item: item, source()))


def test_a_timeout_raised_by_the_work_is_not_taken_for_waiting():
    def fails(_):
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"), Stages() as stages:
        list(stages.map("stage", fails, range(3)))


def test_leaving_early_ends_all_threads():
    before = threading.active_count()
    with Stages() as stages:
        results = stages.map("two", lambda item: item, stages.map("one", lambda item: item, iter(int, 1)), threads=3)
        for _ in range(10):
            next(results)
    assert threading.active_count() == before
