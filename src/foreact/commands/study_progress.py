"""The bars of `foreact study`."""

from datetime import datetime

from rich.progress import Progress, TaskID

from foreact.commands.progress import plain
from foreact.studies.jobs import Job, WorkEvent, estimate_s
from foreact.studies.store import Store


class StudyProgress:
    """A bar for the whole, in estimated seconds, and one for each job under way; in a file, a line a tenth of a job."""

    def __init__(self, bar: Progress, jobs: list[Job], store: Store):
        self._bar, self._bars = bar, dict[str, TaskID]()
        self._seconds = {job.key: estimate_s([job.work], store) for job in jobs}
        self._done = dict.fromkeys(self._seconds, 0.0)
        self._stages: dict[str, int | str] = {}
        self._whole = bar.add_task("all jobs, estimated seconds", total=sum(self._seconds.values()), figures="")

    def hear(self, event: WorkEvent) -> None:
        """Show what became of a job."""
        key, size = event.job.key, event.job.work.size
        if event.state == "begun":
            self._bars[key] = self._bar.add_task(event.job.work.title, total=size, figures="")
        elif event.state == "working":
            self._bar.update(self._bars[key], completed=event.done, figures=event.figures)
            self._done[key] = self._seconds[key] * event.done / size
        else:
            self._bar.remove_task(self._bars.pop(key))
            self._done[key] = self._seconds[key] if event.state == "done" else 0.0
            if event.state == "failed" and self._bar.console.is_terminal:
                self._bar.console.print(f"[red]failed:[/] {event.job.work.title}: {plain(event.figures)}")
        if not self._bar.console.is_terminal:
            self._print(event)
        num_done = sum(done >= self._seconds[key] for key, done in self._done.items())
        figures = f"{num_done} of {len(self._done)} jobs"
        self._bar.update(self._whole, completed=sum(self._done.values()), figures=figures)

    def _print(self, event: WorkEvent) -> None:
        """Print what is new: of work that goes on every tenth, of another process's that it is at it, once."""
        key, size = event.job.key, event.job.work.size
        state = f"{event.done} of {size}" if event.state == "working" else event.state
        stage = 10 * event.done // size if event.state == "working" else event.state
        waited = self._stages.get(key) == "elsewhere" and stage == "begun"
        if waited or stage == self._stages.get(key):
            return
        self._stages[key] = stage
        details = f"{datetime.now():%H:%M:%S} {event.job.work.title}: {state} {event.figures}"
        self._bar.console.print(details.rstrip(), markup=False, soft_wrap=True)
