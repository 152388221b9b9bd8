"""Which task a worker gets next."""

from __future__ import annotations

from supertile.inference.cluster.queue import TaskQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_tasks_are_taken_one_by_one():
    taken = []
    queue = TaskQueue((taken.append(number) or number for number in range(10_000)), patience=3)
    assert not queue.empty
    first, second = queue.take(), queue.take()
    assert (first.task, second.task) == (0, 1)
    assert taken == [0, 1]


def test_it_is_empty_when_all_are_done():
    queue = TaskQueue(["only"], patience=3)
    ticket = queue.take()
    queue.begin(ticket, "a")
    assert queue.take() is None
    assert not queue.empty
    queue.leave(ticket, "a", finished=True)
    assert queue.empty
    assert TaskQueue([], patience=3).empty


def test_a_task_that_lost_its_worker_comes_first():
    queue = TaskQueue(range(3), patience=3)
    ticket = queue.take()
    queue.begin(ticket, "a")
    queue.leave(ticket, "a")
    queue.put_back(ticket)
    assert queue.take() is ticket
    assert queue.take().task == 1


def test_a_slow_task_is_given_to_a_second_worker_and_to_no_third():
    clock = Clock()
    queue = TaskQueue(range(3), patience=3, clock=clock)
    slow, quick = queue.take(), queue.take()
    queue.begin(slow, "a")
    queue.begin(quick, "b")
    clock.now = 10
    queue.leave(quick, "b", finished=True)
    last = queue.take()
    assert last.task == 2  # before any is given twice
    queue.begin(last, "b")
    clock.now = 20
    queue.leave(last, "b", finished=True)
    assert queue.take() is None  # 20 s, where others took 10
    clock.now = 31
    assert queue.take() is slow
    queue.begin(slow, "b")
    assert queue.take() is None
    queue.leave(slow, "b", finished=True)
    assert slow.done
    assert list(slow.workers) == ["a"]
    assert queue.empty


def test_a_task_stays_with_its_second_worker_when_the_first_dies():
    clock = Clock()
    queue = TaskQueue(range(2), patience=1, clock=clock)
    slow, quick = queue.take(), queue.take()
    queue.begin(slow, "a")
    queue.begin(quick, "b")
    clock.now = 1
    queue.leave(quick, "b", finished=True)
    clock.now = 5
    assert queue.take() is slow
    queue.begin(slow, "b")
    queue.leave(slow, "a")
    queue.put_back(slow)
    assert queue.take() is None
    queue.leave(slow, "b", finished=True)
    assert queue.empty
