"""Published success rates that can be measured again: for each the policy, the robot, the tasks and the protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED

RESULTS_PAGE = "docs/results.md of foreact"
BENCHMARKS_PAGE = "docs/benchmarks.md of foreact"
LINGBOT_VA = "LingBot-VA (arXiv 2601.21998), table of its repository; as many episodes as its protocol has"


@dataclass(frozen=True, kw_only=True)
class PublishedRate:
    """A success rate that somebody wrote down."""

    rate: float
    """Successes over episodes, 0 to 1."""
    source: str
    """Where it is written."""
    num_episodes: int | None = None
    """How many episodes it was measured on; None: the source does not say."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigurationError("published rate", got=self.rate, allowed="0 to 1")

    @property
    def successes(self) -> int:
        """The number of episodes that succeeded, where their number is known."""
        return round(self.rate * (self.num_episodes or 0))


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Everything that decides one published figure.

    The tasks are run in this process, or, with a `dialect`, by a simulator that asks a policy server.
    """

    name: str
    """What `foreact reproduce` calls it."""
    summary: str
    """What is measured, in one sentence."""
    checkpoint: str
    """The policy that the figure is of: one that ships, or a repository on the hub."""
    robot: str
    """Name of the robot's file; a policy of another robot is refused."""
    worlds: tuple[str, ...] = ()
    """The tasks, as `foreact.environments` names them; none with a `dialect`."""
    dialect: str | None = None
    """Whose clients the policy is served to (`foreact.serving.dialects`); None: the tasks run here."""
    protocol: str = ""
    """Name of the evaluation protocol; with a `dialect`, what the client has to be told to do, in words."""
    num_tasks: int
    """Tasks that the overall figure is a mean of."""
    num_episodes: int
    """Episodes of each task."""
    seed: int = FIRST_HELD_OUT_SEED
    """Of each task's first episode, where the tasks run here; a client chooses its own."""
    overall: PublishedRate | None = None
    """The mean over all tasks, where it was published."""
    by_task: Mapping[str, PublishedRate] = field(default_factory=dict)
    """Figures of single tasks, by the names in `worlds`."""

    def __post_init__(self) -> None:
        if (self.dialect is None) != bool(self.worlds):
            allowed = "worlds that run here, or a dialect in which a client is answered"
            got = "both" if self.worlds else "neither"
            raise ConfigurationError(f"reproduction {self.name!r}", got=got, allowed=allowed)


def _ours(successes: int, episodes: int, source: str) -> PublishedRate:
    return PublishedRate(rate=successes / episodes, num_episodes=episodes, source=source)


def _same_share(successes: Mapping[str, int], suite: str, source: str) -> dict[str, PublishedRate]:
    """Return figures of fifty episodes each."""
    return {f"{suite}/{task}": _ours(number, 50, source) for task, number in successes.items()}


_METAWORLD = {
    "button-press-v3": 50,
    "door-open-v3": 50,
    "window-close-v3": 50,
    "drawer-open-v3": 49,
    "pick-place-v3": 18,
}
_ALOHA = {"reach_cube": 48, "lift_cube": 48, "transfer_cube": 39}

_ALL = (
    Reproduction(
        name="metaworld-5",
        summary="One small network on five tasks of Meta-World.",
        checkpoint="tiny-metaworld",
        robot="sawyer",
        worlds=tuple(f"metaworld/{task}" for task in _METAWORLD),
        protocol="metaworld-foreact",
        num_tasks=5,
        num_episodes=50,
        overall=_ours(sum(_METAWORLD.values()), 250, BENCHMARKS_PAGE),
        by_task=_same_share(_METAWORLD, "metaworld", BENCHMARKS_PAGE),
    ),
    Reproduction(
        name="aloha",
        summary="The small policy that ships, on the three tasks of our own scene that it was trained on.",
        checkpoint="tiny",
        robot="aloha",
        worlds=tuple(f"aloha/{task}" for task in _ALOHA),
        protocol="aloha-foreact",
        num_tasks=3,
        num_episodes=50,
        overall=_ours(sum(_ALOHA.values()), 150, RESULTS_PAGE),
        by_task=_same_share(_ALOHA, "aloha", RESULTS_PAGE),
    ),
    Reproduction(
        name="libero-long",
        summary="The published LIBERO weights of LingBot-VA on the ten long tasks of LIBERO.",
        checkpoint="robbyant/lingbot-va-posttrain-libero-long",
        robot="libero_published",
        worlds=tuple(f"libero/10/{number}" for number in range(10)),
        protocol="libero-lingbot",
        num_tasks=10,
        num_episodes=50,
        overall=PublishedRate(rate=0.985, num_episodes=500, source=LINGBOT_VA),
    ),
    Reproduction(
        name="robotwin",
        summary="The published RoboTwin weights of LingBot-VA on the fifty tasks of RoboTwin 2.0, clean scenes.",
        checkpoint="robbyant/lingbot-va-posttrain-robotwin",
        robot="robotwin_aloha",
        dialect="xpolicylab",
        protocol="RoboTwin 2.0's own evaluation: configuration demo_clean, 100 episodes of each of its 50 tasks",
        num_tasks=50,
        num_episodes=100,
        overall=PublishedRate(rate=0.929, num_episodes=5000, source=LINGBOT_VA),
    ),
)

REPRODUCTIONS: dict[str, Reproduction] = {entry.name: entry for entry in _ALL}


def get_reproduction(name: str) -> Reproduction:
    """Return the entry of that name.

    Raises:
        UnknownNameError: There is none; the message lists those there are.
    """
    if name not in REPRODUCTIONS:
        raise UnknownNameError("reproduction", name, REPRODUCTIONS)
    return REPRODUCTIONS[name]
