"""A log that cannot be written is nobody's trouble."""

import io
import json
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from foreact.serving.logs import ServerLog, logger


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
