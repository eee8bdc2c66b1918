"""A log that cannot be written is nobody's trouble."""

import io
import json
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from foreact.serving.logs import FewOfEach, ServerLog, logger


def test_one_object_a_line(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "log")
    logger.info("session started", extra={"session": "s", "path": Path("x")})
    try:
        raise ValueError("why")
    except ValueError as error:
        logger.error("internal error", exc_info=error)
    log.close()
    first, second = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines())
    assert (first["event"], first["level"], first["session"], first["path"]) == ("session started", "INFO", "s", "x")
    assert first["time"] > 0 and "ValueError: why" in second["traceback"]
    logger.warning("after it was closed")
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_it_goes_on_at_the_end_of_its_file(tmp_path: Path) -> None:
    for _ in range(2):
        log = ServerLog(tmp_path / "log")
        logger.info("x")
        log.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_and_a_broken_pipe(capsys) -> None:
    read, write = os.pipe()
    os.close(read)
    for target in (Path("/dev/full"), os.fdopen(write, "w")):
        log = ServerLog(target)
        for _ in range(5):
            logger.info("x" * 10_000)
        log.close()
        assert log.num_unwritten >= 5
        if not isinstance(target, Path):
            with suppress(BrokenPipeError):
                target.close()
    assert capsys.readouterr().err == ""


def test_more_than_can_be_written_is_dropped(monkeypatch) -> None:
    monkeypatch.setattr("foreact.serving.logs._MOST_LINES", 2)

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            proceed.wait(5)
            return super().write(text)

    from threading import Event

    proceed = Event()
    log = ServerLog(Slow())
    for _ in range(20):
        logger.info("x")
    assert log.num_dropped >= 15
    monkeypatch.setattr("foreact.serving.logs._CLOSE_S", 0.01)
    log.close()  # it does not wait for what will not be written
    assert log.num_unwritten >= 1
    proceed.set()


def test_a_server_goes_on_when_its_disk_is_full(tiny, house, observed) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    log = ServerLog(Path("/dev/full"))
    server = house.server(tiny.policy())
    with house.Raw(server.address) as client:
        assert isinstance(client.infer({}), str)
        assert client.infer(observed())["actions"].shape == (8, 3)
    log.close()
    assert log.num_unwritten > 0


def test_other_loggers_are_left_alone() -> None:
    before = logging.getLogger().handlers[:], logger.level, logger.propagate, logger.handlers[:]
    ServerLog(sys.stderr).close()
    assert (logging.getLogger().handlers[:], logger.level, logger.propagate, logger.handlers[:]) == before


def test_what_carries_the_messages_writes_into_the_same_log(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "log")
    for name in ("asyncio", "websockets.server"):
        logging.getLogger(name).warning("socket.send() raised exception.")
        logging.getLogger(name).info("not worth a line")
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["socket.send() raised exception."] * 2


def test_of_one_event_no_more_lines_than_may_be_and_the_others_as_ever(tmp_path: Path, monkeypatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("foreact.serving.logs.monotonic", lambda: now_s[0])
    log = ServerLog(tmp_path / "log")
    for _ in range(1000):
        logger.warning("refused", extra={"why": "x"})
    logger.info("session started")
    now_s[0] += 1.0
    logger.warning("refused", extra={"why": "x"})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["refused"] * 50 + ["session started", "refused"]
    assert lines[-1]["left_out"] == 950


def test_the_kinds_of_event_that_are_told_apart_are_bounded() -> None:
    few = FewOfEach()
    for number in range(3000):
        assert few.filter(logging.makeLogRecord({"name": "x", "msg": f"event {number}"}))
    assert len(few._known) <= 1001


def test_long_lines_are_shortened(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "log")
    logger.info("short", extra={"why": "a" * 100_000 + "the end"})
    logger.info("many", extra={f"field{number}": "b" * 2000 for number in range(50)})
    log.close()
    first, second = (tmp_path / "log").read_text().splitlines()
    assert len(first) < 3000 and json.loads(first)["why"].endswith("the end")
    assert len(second) < 3000 and json.loads(second)["event"] == "many"


def test_files_are_renamed_when_they_are_full_and_the_oldest_go(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("foreact.serving.logs._FILE_BYTES", 10_000)
    monkeypatch.setattr("foreact.serving.logs._EVENTS_AT_ONCE", 1e9)
    log = ServerLog(tmp_path / "log")
    for number in range(2000):
        logger.info("x", extra={"number": number})
    log.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3", "log.4"]
    assert max(each.stat().st_size for each in tmp_path.iterdir()) <= 10_000
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["number"] == 1999
