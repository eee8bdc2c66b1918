from foreact.studies.jobs import RETRY_S, Agenda, News, estimate_s, jobs_of


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
    agenda = Agenda(jobs_of([counting("then", first=(first,)), counting("alone")], store))
    begun = [agenda.next(), agenda.next(), agenda.next()]
    assert names(begun[:2]) == ["first", "alone"] and begun[2] is None
    agenda.hear(News(job=begun[0], state="working", done=1))
    assert agenda.next() is None
    agenda.hear(News(job=begun[0], state="done"))
    assert names([agenda.next()]) == ["then"]
    assert not agenda.is_waiting and names(agenda.left()) == ["then", "alone"]


def test_what_needs_a_failed_job_never_begins(store, counting) -> None:
    first = counting("first")
    second = counting("second", first=(first,))
    agenda = Agenda(jobs_of([counting("third", first=(second,)), counting("alone")], store))
    failing = agenda.next()
    agenda.hear(News(job=failing, state="failed", figures="it broke"))
    assert names([agenda.next()]) == ["alone"]
    assert agenda.next() is None and not agenda.is_waiting
    assert agenda.failed == {failing.key: "it broke"} and names(agenda.left()) == ["second", "third", "alone"]


def test_what_follows_a_finished_job_is_waited_for_while_another_process_does_it(store, counting) -> None:
    first = counting("first")
    agenda = Agenda(jobs_of([counting("then", first=(first,))], store))
    agenda.hear(News(job=agenda.next(), state="done"))
    agenda.hear(News(job=agenda.next(), state="elsewhere"))
    assert agenda.next() is None and agenda.is_waiting


def test_what_another_process_does_is_looked_at_again(store, counting, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("foreact.studies.jobs.time.monotonic", lambda: now[0])
    agenda = Agenda(jobs_of([counting("a")], store))
    agenda.hear(News(job=agenda.next(), state="elsewhere"))
    assert agenda.next() is None and agenda.is_waiting
    now[0] += RETRY_S
    assert names([agenda.next()]) == ["a"] and not agenda.is_waiting
