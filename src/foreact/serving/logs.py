"""The server's log: one JSON object a line, written by a thread of its own. What cannot be written is dropped.

Nobody can fill a disk with it: a line is at most 8 kB, a file at most 16 MiB with four older ones next to it, and of
the same event no more than ten lines a second are written, the next of which says how many were left out.
"""

import json
import logging
from contextlib import suppress
from io import TextIOBase
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import Full, Queue
from threading import Lock
from time import monotonic
from typing import Any, TextIO

logger = logging.getLogger("foreact.serving")
logger.addHandler(logging.NullHandler())  # silent where nobody opens a log
socket_logger = logger.getChild("sockets")
socket_logger.setLevel(logging.WARNING)
_LIBRARIES = ("asyncio", "websockets")
"""Loggers of what carries the messages: they write into the same log, from warnings on."""
_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_MOST_LINES = 10_000
_MOST_LINE, _MOST_TEXT = 8000, 2000
"""Characters of a line, and of each text in it."""
_FILE_BYTES, _OLDER_FILES = 16 * 2**20, 4
_EVENTS_PER_S, _EVENTS_AT_ONCE = 10.0, 50.0
_MOST_EVENTS = 1000
"""Kinds of event that are told apart."""
_CLOSE_S = 2.0


class JsonLines(logging.Formatter):
    """time, level, event, and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {"time": record.created, "level": record.levelname, "event": record.getMessage()}
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        whole = json.dumps({name: _shortened(value) for name, value in line.items()}, default=str)
        if len(whole) <= _MOST_LINE:
            return whole
        return json.dumps({name: _shortened(str(line[name])) for name in ("time", "level", "event")})


def _shortened(value: Any) -> Any:
    """Return a text without its middle if it is long: of a traceback, both ends are worth reading."""
    if not isinstance(value, str) or len(value) <= _MOST_TEXT:
        return value
    return f"{value[: _MOST_TEXT // 2]} [...] {value[-_MOST_TEXT // 2 :]}"


class FewOfEach(logging.Filter):
    """Lets a few lines of the same event through, and says with the next how many it left out."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._known: dict[tuple[str, str], list[float]] = {}
        """By logger and event: lines that may come at once, when that was, and how many were left out since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to be written."""
        now_s, event = monotonic(), (record.name, str(record.msg)[:80])
        with self._lock:
            if len(self._known) > _MOST_EVENTS:
                self._known.clear()
            left, at_s, num_left_out = self._known.get(event, [_EVENTS_AT_ONCE, now_s, 0])
            left = min(_EVENTS_AT_ONCE, left + (now_s - at_s) * _EVENTS_PER_S)
            passes = left >= 1.0
            self._known[event] = [left - passes, now_s, 0 if passes else num_left_out + 1]
        if passes and num_left_out:
            record.left_out = int(num_left_out)
        return passes


class _Queued(QueueHandler):
    """Never waits, never complains."""

    def __init__(self, queue: Queue):
        super().__init__(queue)
        self.num_dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # formatted by the thread; nothing of it changes after

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except Full:
            self.num_dropped += 1


class _Listener(QueueListener):
    def enqueue_sentinel(self) -> None:
        with suppress(Full):
            self.queue.put(self._sentinel, timeout=_CLOSE_S)  # type: ignore[attr-defined]

    def stop(self) -> None:
        """End the thread, or leave it to itself if it does not: a disk may hang."""
        self.enqueue_sentinel()
        if self._thread is not None:  # type: ignore[attr-defined]
            self._thread.join(_CLOSE_S)  # type: ignore[attr-defined]


class _Stream(logging.StreamHandler):
    def __init__(self, stream: TextIO | TextIOBase, log: "ServerLog"):
        super().__init__(stream)
        self._log = log

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        self._log.num_unwritten += 1


class _File(RotatingFileHandler):
    def __init__(self, path: Path, log: "ServerLog"):
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_OLDER_FILES, encoding="utf-8")
        self._log = log

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        self._log.num_unwritten += 1


class ServerLog:
    """Attached to the loggers of `foreact.serving`, of asyncio and of websockets until it is closed."""

    def __init__(self, target: Path | TextIO | TextIOBase):
        """Open the file, to write on at its end; when it is full, it is renamed to FILE.1, and so on.

        Args:
            target: A file, or a stream such as stderr.

        Raises:
            OSError: The file cannot be opened.
        """
        self.num_unwritten = 0
        """Lines that could not be written: a full disk, a broken pipe."""
        self._handler = _File(target, self) if isinstance(target, Path) else _Stream(target, self)
        self._handler.setFormatter(JsonLines())
        self._lines: Queue = Queue(_MOST_LINES)
        self._queued = _Queued(self._lines)
        self._queued.addFilter(FewOfEach())
        self._listener = _Listener(self._lines, self._handler)
        self._listener.start()
        libraries = [logging.getLogger(name) for name in _LIBRARIES]
        self._before = [(each, each.level, each.propagate) for each in (logger, *libraries)]
        for each in (logger, *libraries):
            each.addHandler(self._queued)
            each.setLevel(logging.INFO if each is logger else logging.WARNING)
            each.propagate = False

    @property
    def num_dropped(self) -> int:
        """Lines that came faster than they could be written."""
        return self._queued.num_dropped

    def close(self) -> None:
        """Write what is left, as far as can be."""
        for each, level, propagate in self._before:
            each.removeHandler(self._queued)
            each.setLevel(level)
            each.propagate = propagate
        self._listener.stop()
        self.num_unwritten += self._lines.qsize()
        if isinstance(self._handler, _File):
            try:
                self._handler.close()
            except OSError:
                self.num_unwritten += 1
