"""Follows an episode and scores it."""

from foreact.simulation.tasks import Task
from foreact.simulation.world import World


class Judge:
    """Follows one episode of a task and remembers what was achieved."""

    def __init__(self, task: Task):
        """Start with nothing achieved."""
        self.task = task
        self._streaks = [0] * len(task.plan)
        self._achieved = [False] * len(task.plan)
        self._mistake_streak, self.spoilt = 0, False

    def watch(self, world: World, bins: tuple[str, ...]) -> None:
        """Take in one control step."""
        if (mistake := self.task.mistake) and not self.success:
            self._mistake_streak = self._mistake_streak + 1 if mistake.condition(world, bins) else 0
            self.spoilt |= self._mistake_streak >= mistake.num_steps
        for index, stage in enumerate(self.task.plan):
            holds = stage.condition(world, bins)
            self._streaks[index] = self._streaks[index] + 1 if holds else 0
            self._achieved[index] |= self._streaks[index] >= stage.num_steps

    @property
    def success(self) -> bool:
        """Whether the final condition was met, and no mistake was made before."""
        return self._achieved[-1] and not self.spoilt

    @property
    def num_done(self) -> int:
        """Stages achieved; all of them after success, by whatever way it came; never the last one after a mistake."""
        return len(self._achieved) if self.success else sum(self._achieved[:-1])

    @property
    def stage(self) -> str:
        """The first stage still to achieve, or "done"."""
        if self.success:
            return "done"
        if self.spoilt and self.task.mistake:
            return self.task.mistake.name
        return self.task.stages[self._achieved.index(False)]
