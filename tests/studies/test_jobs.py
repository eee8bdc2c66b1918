from foreact.studies.jobs import RETRY_S, JobQueue, WorkEvent, estimate_s, jobs_of


def names(jobs) -> list[str]:
    return [job.work.name for job in jobs]


def test_what_is_needed_comes_first_and_once(store, counting) -> None:
    shared = counting("shared")
    wanted = [counting("b", first=(shared,)), counting("a", first=(shared,)), counting("b", first=(shared,))]
    assert names(jobs_of(wanted, store)) == ["shared", "b", "a"]


def test_of_two_sizes_the_larger_is_done(store, counting) -> None:
    wanted = [counting("a", size=2), counting("a", size=9), counting("a", size=4)]
    assert [job.work.size for job in jobs_of(wanted, store)] == [9]


def test_finished_work_needs_nothing_more(store, counting) -> None:
    work = counting("a", first=(counting("shared"),))
    store.perform(work, "cpu", lambda *_: None)
    assert jobs_of([work], store) == []


def test_estimates_follow_the_pace(store, counting) -> None:
    assert estimate_s([counting("a"), counting("b", size=1)], store) == 8.0
    store.perform(counting("a", size=12), "cpu", lambda *_: None)
    assert estimate_s([counting("b", size=1)], store) < 1.0
    assert estimate_s([], store) == 0.0


def test_a_job_begins_when_all_it_needs_is_done(store, counting) -> None:
    first = counting("first")
    queue = JobQueue(jobs_of([counting("then", first=(first,)), counting("alone")], store))
    begun = [queue.next(), queue.next(), queue.next()]
    assert names(begun[:2]) == ["first", "alone"] and begun[2] is None
    queue.hear(WorkEvent(job=begun[0], state="working", done=1))
    assert queue.next() is None
    queue.hear(WorkEvent(job=begun[0], state="done"))
    assert names([queue.next()]) == ["then"]
    assert not queue.is_waiting and names(queue.left()) == ["then", "alone"]


def test_what_needs_a_failed_job_never_begins(store, counting) -> None:
    first = counting("first")
    second = counting("second", first=(first,))
    queue = JobQueue(jobs_of([counting("third", first=(second,)), counting("alone")], store))
    failing = queue.next()
    queue.hear(WorkEvent(job=failing, state="failed", figures="it broke"))
    assert names([queue.next()]) == ["alone"]
    assert queue.next() is None and not queue.is_waiting
    assert queue.failed == {failing.key: "it broke"} and names(queue.left()) == ["second", "third", "alone"]


def test_what_follows_a_finished_job_is_waited_for_while_another_process_does_it(store, counting) -> None:
    first = counting("first")
    queue = JobQueue(jobs_of([counting("then", first=(first,))], store))
    queue.hear(WorkEvent(job=queue.next(), state="done"))
    queue.hear(WorkEvent(job=queue.next(), state="elsewhere"))
    assert queue.next() is None and queue.is_waiting


def test_what_another_process_does_is_looked_at_again(store, counting, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("foreact.studies.jobs.time.monotonic", lambda: now[0])
    queue = JobQueue(jobs_of([counting("a")], store))
    queue.hear(WorkEvent(job=queue.next(), state="elsewhere"))
    assert queue.next() is None and queue.is_waiting
    now[0] += RETRY_S
    assert names([queue.next()]) == ["a"] and not queue.is_waiting
