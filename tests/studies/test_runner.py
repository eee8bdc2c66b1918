import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from foreact.errors import ConfigurationError
from foreact.studies.jobs import WorkEvent, jobs_of
from foreact.studies.runner import interrupts_held, run
from foreact.studies.store import Store, lock


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def wait_for(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_free(folder: Path) -> bool:
    with lock(folder) as mine:
        return mine


def test_jobs_are_spread_told_and_done_once(store, counting, log) -> None:
    shared = counting("shared")
    wanted = [counting(name, first=(shared,), pause_s=0.05) for name in "abc"]
    events: list[WorkEvent] = []
    outcome = run(jobs_of(wanted, store), store, workers=2, on_event=events.append)
    assert not outcome.failed and not outcome.left
    assert all(store.is_done(work) for work in wanted)
    assert len(lines(log)) == len(set(lines(log))) == 4 * 3
    assert lines(log)[:3] == ["shared 1", "shared 2", "shared 3"]
    of_a = [(each.state, each.done) for each in events if each.job.work.name == "a"]
    assert of_a == [("begun", 0), *(("working", n) for n in range(4)), ("done", 3)]
    states = [(each.state, each.job.work.name) for each in events]
    assert states.index(("begun", "b")) < states.index(("done", "a"))  # two at a time
    again = run(jobs_of(wanted, store), store, workers=2)
    assert not again.failed and len(lines(log)) == 12


def test_a_failing_job_does_not_stop_the_others(store, counting, log) -> None:
    bad, bug = counting("bad", fails_at=1), counting("bug", fails_at=2, error="bug")
    wanted = [counting("after", first=(bad,)), bug, counting("good")]
    outcome = run(jobs_of(wanted, store), store)
    reasons = sorted(outcome.failed.values())
    assert reasons[0].startswith("ZeroDivisionError: oh") and reasons[1] == "toy; got: bad"
    assert [job.work.name for job in outcome.left] == ["after"]
    assert store.is_done(counting("good"))
    assert "Traceback" in (store.folder(bug) / "error.txt").read_text()
    cured = [counting("after", first=(counting("bad"),)), counting("bug")]
    assert not run(jobs_of(cured, store), store).failed
    assert len(lines(log)) == len(set(lines(log))) == 4 * 3
    assert not (store.folder(bug) / "error.txt").exists()


def test_a_worker_killed_loses_the_unit_in_progress_and_no_other_job(store, counting, log) -> None:
    long = counting("long", size=4, pause_s=0.4)
    count = store.folder(long) / "count.txt"

    def kill() -> None:
        wait_for(lambda: count.exists() and count.read_text() == "2")
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = run(jobs_of([long, counting("other")], store), store)
    killer.join()
    assert list(outcome.failed.values()) == ["its process ended (SIGKILL)"]
    assert store.is_done(counting("other")) and not store.is_done(long)
    assert not run(jobs_of([long], store), store).failed
    assert [line for line in lines(log) if "long" in line] == ["long 1", "long 2", "long 3", "long 4"]


def test_a_worker_killed_between_two_jobs_is_replaced(store, counting) -> None:
    def kill(event: WorkEvent) -> None:
        if event.state == "done" and event.job.work.name == "a":
            (process,) = multiprocessing.active_children()
            process.kill()
            process.join()

    outcome = run(jobs_of([counting("a"), counting("b")], store), store, on_event=kill)
    assert not outcome.failed and store.is_done(counting("b"))


def test_a_runner_killed_leaves_no_worker_and_no_lock(store, counting, log) -> None:
    long = counting("long", size=5, pause_s=0.3)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from toy_work import Counting\n"
        "from foreact.studies.jobs import jobs_of; from foreact.studies.runner import run\n"
        "from foreact.studies.store import Store\n"
        "if __name__ == '__main__':\n"
        "    store = Store(Path(sys.argv[2]))\n"
        "    run(jobs_of([Counting(name='long', log=sys.argv[3], size=5, pause_s=0.3)], store), store)\n"
    )
    path = log.with_name("runner.py")
    path.write_text(script)
    runner = subprocess.Popen([sys.executable, path, Path(__file__).parent, store.root, log])
    wait_for(lambda: "long 1" in lines(log))
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    wait_for(lambda: is_free(store.folder(long)))
    assert len(lines(log)) < 5, "the worker did not go on without it"
    assert not run(jobs_of([long], store), store).failed
    assert len(lines(log)) <= 6 and set(lines(log)) == {
        f"long {n}" for n in range(1, 6)
    }  # at most the unit in progress twice


def test_two_runners_do_no_job_twice(store, counting, log) -> None:
    def jobs():
        shared = counting("shared", pause_s=0.1)
        return jobs_of([counting(name, first=(shared,), pause_s=0.1) for name in "abcd"], store)

    outcomes = []
    runners = [threading.Thread(target=lambda: outcomes.append(run(jobs(), store))) for _ in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert len(lines(log)) == len(set(lines(log))) == 5 * 3
    assert [(outcome.failed, outcome.left) for outcome in outcomes] == [({}, []), ({}, [])]


def test_a_spent_budget_begins_nothing_more(store, counting) -> None:
    jobs = jobs_of([counting("a"), counting("b")], store)
    assert run(jobs, store, budget_s=0.0).left == jobs
    outcome = run(jobs_of([counting("a", pause_s=0.5), counting("b")], store), store, budget_s=0.3)
    assert [job.work.name for job in outcome.left] == ["b"] and store.is_done(counting("a"))


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(store, counting, log) -> None:
    def interrupt(event: WorkEvent) -> None:
        if event.done == 2:
            raise KeyboardInterrupt

    long = counting("long", size=5, pause_s=0.1)
    with pytest.raises(KeyboardInterrupt):
        run(jobs_of([long], store), store, on_event=interrupt)
    with lock(store.folder(long)) as mine:
        assert mine
    run(jobs_of([long], store), store)
    assert len(lines(log)) <= 6


def test_no_workers_are_refused(store) -> None:
    with pytest.raises(ConfigurationError, match="workers"):
        run([], Store(store.root), workers=0)


def test_ctrl_c_is_held_back_from_a_worker_from_its_first_instruction() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with interrupts_held():
        held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert held.stdout == "True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
