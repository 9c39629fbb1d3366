"""Work done ahead, in one stage or several: order, bounds, errors, teardown."""

import threading
import time
from itertools import islice

import pytest

from avr.core import Stages, WorkError, ahead


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


def test_what_came_before_an_error_of_an_earlier_stage_is_given_first():
    def fails(item):
        if item == 5:
            raise ZeroDivisionError("five")
        return item

    with Stages() as stages:
        results = stages.map("last", lambda item: item, stages.map("fails", fails, range(9)), ahead=8)
        assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
        with pytest.raises(ZeroDivisionError, match="five"):
            next(results)


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


def test_who_waits_is_woken_when_all_is_to_stop():
    seconds = []
    for _ in range(3):  # a machine that is busy elsewhere may delay one
        with Stages() as stages:
            waiting = stages.map("none comes", str, stages.map("full", str, range(99), ahead=0), ahead=0)
            next(waiting)
            start = time.perf_counter()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_the_slowest_stage_stays_busy():
    """However results bunch up: its line is filled again before each that is taken from it."""
    at_once, most = 0, []

    def slow(item):
        nonlocal at_once
        at_once += 1
        time.sleep(0.02 if item % 4 == 0 else 0.005)
        most.append(at_once)
        at_once -= 1
        return item

    with Stages() as stages:
        first = stages.map("slow", slow, range(40), threads=2, ahead=4)
        assert list(stages.map("fast", lambda item: item, first)) == list(range(40))
    assert sum(count == 2 for count in most) > 20


def test_read_ahead_stops_with_its_caller_and_passes_errors_on():
    before = threading.active_count()
    for step in ahead(lambda number: number, range(1000), depth=2):
        if step == 3:
            break
    assert threading.active_count() == before

    def load(number):
        if number == 2:
            raise WorkError("damaged")
        return number

    steps = ahead(load, range(9), depth=3)
    assert [next(steps), next(steps)] == [0, 1]
    with pytest.raises(WorkError, match="damaged"):
        next(steps)
