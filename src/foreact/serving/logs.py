"""The server's log: one JSON object a line, written by a thread of its own. What cannot be written is dropped."""

import json
import logging
from contextlib import suppress
from io import TextIOBase
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import Full, Queue
from typing import Any, TextIO

logger = logging.getLogger("foreact.serving")
logger.addHandler(logging.NullHandler())  # silent where nobody opens a log
socket_logger = logger.getChild("sockets")
socket_logger.setLevel(logging.WARNING)
_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_MOST_LINES = 10_000
_CLOSE_S = 2.0


class JsonLines(logging.Formatter):
    """time, level, event, and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {"time": record.created, "level": record.levelname, "event": record.getMessage()}
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


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


class ServerLog:
    """Attached to `foreact.serving`'s logger from `open` to `close`."""

    def __init__(self, target: Path | TextIO | TextIOBase):
        """Open the file, to write on at its end.

        Args:
            target: A file, or a stream such as stderr.

        Raises:
            OSError: The file cannot be opened.
        """
        self.num_unwritten = 0
        """Lines that could not be written: a full disk, a broken pipe."""
        self._file = target.open("a", encoding="utf-8") if isinstance(target, Path) else None
        handler = _Stream(self._file or target, self)  # type: ignore[arg-type]
        handler.setFormatter(JsonLines())
        self._lines: Queue = Queue(_MOST_LINES)
        self._queued = _Queued(self._lines)
        self._listener = _Listener(self._lines, handler)
        self._listener.start()
        logger.addHandler(self._queued)
        self._level, self._propagate = logger.level, logger.propagate
        logger.setLevel(logging.INFO)
        logger.propagate = False

    @property
    def num_dropped(self) -> int:
        """Lines that came faster than they could be written."""
        return self._queued.num_dropped

    def close(self) -> None:
        """Write what is left, as far as can be."""
        logger.removeHandler(self._queued)
        logger.setLevel(self._level)
        logger.propagate = self._propagate
        self._listener.stop()
        self.num_unwritten += self._lines.qsize()
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                self.num_unwritten += 1
