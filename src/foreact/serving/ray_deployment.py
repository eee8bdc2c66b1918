"""The policy server as a Ray Serve deployment: replicas of it, on as many machines as Ray has.

    serve run foreact.serving.ray_deployment:app policy=tiny num_replicas=2

A connection stays with one replica, and so do the robot's session and its caches. When a replica dies its connections
break: the client connects again, is led to another replica, where nobody knows its session, and begins a new one from
the last pictures and the robot's state, as it does when a server was started anew (`control.client`). A client whose
connection broke while its replica lives is led back to it (`ray_router`) and takes its session up.
"""

import sys
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application as RayApplication
from ray.serve.config import RequestRouterConfig
from starlette.applications import Starlette

from foreact.policy.schedules import get_schedule
from foreact.serving.admission import read_token
from foreact.serving.asgi import Application
from foreact.serving.config import Batching, Limits, ServerConfig
from foreact.serving.host import Host
from foreact.serving.logs import ServerLog
from foreact.serving.metrics import merge
from foreact.serving.preparation import prepare

_CARRIED_BYTES = 16 * 2**20
"""Of a message, which is what Ray's proxy takes; nothing sets it otherwise."""
_COLLECT_S = 2.0


class Arguments(BaseModel):
    """What is served, and by how much; from `key=value` after `serve run`, or `args` of a `serve_config.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str = "tiny"
    """Name of a shipped policy, or a folder that every machine has."""
    schedule: str | None = None
    """Denoising steps by name; None: the policy's own."""
    device: str = "cpu"
    """cpu, or cuda: then give each replica a GPU, or a share of one."""
    num_replicas: Annotated[int, Field(ge=1)] = 1
    """Each with a policy of its own."""
    num_cpus: Annotated[float, Field(ge=0)] = 1.0
    """CPU cores that Ray keeps for a replica; it computes with as many threads."""
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs that Ray keeps for a replica; 0.5 puts two on one."""
    token_file: Path | None = None
    """Holds what clients must know; read by each replica on its machine. None: only this machine's clients come in."""
    max_sessions: Annotated[int, Field(ge=1)] = 64
    """Robots of a replica."""
    max_connections: Annotated[int, Field(ge=1)] = 256
    """Connections of a replica; more wait until one ends."""
    idle_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds without a message after which a session is ended."""
    max_batch: Annotated[int, Field(ge=1)] = 16
    """Requests that a replica computes together."""
    drain_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for which a replica that is to end goes on with its robots; then their connections break."""
    hung_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds of computing one batch after which another replica takes its place."""

    def server_config(self, replica: str) -> ServerConfig:
        """Return how a replica serves.

        Raises:
            ConfigurationError: The token cannot be read, or is weak.
        """
        limits = Limits(
            sessions=self.max_sessions,
            connections=self.max_connections,
            idle_s=self.idle_s,
            message_bytes=_CARRIED_BYTES,
            drain_s=self.drain_s,
            hung_s=self.hung_s,
        )
        token = None if self.token_file is None else read_token(self.token_file)
        name = f"{self.policy}@{replica}"
        return ServerConfig(token=token, name=name, limits=limits, batching=Batching(most=self.max_batch))


class PolicyReplica:
    """One server among several. Its clients are told its name with the policy's: "tiny@k3vd8w1z"."""

    def __init__(self, arguments: Arguments):
        """Load the policy.

        Raises:
            ForeactError: It cannot be loaded, or the token not be read.
        """
        context = serve.get_replica_context()
        self._name, self._deployment, self._app = context.replica_id.unique_id, context.deployment, context.app_name
        config = arguments.server_config(self._name)
        policy = prepare(arguments.policy, schedule=arguments.schedule, device=arguments.device)
        self._log = ServerLog(sys.stderr)  # which Ray keeps per replica
        self._host = Host(policy, config)
        self._application = Application(self._host, config, collect=self._collect)

    def __serve_build_asgi_app__(self) -> Starlette:
        """Return what Ray runs."""
        return self._application.build()

    def __del__(self) -> None:
        """Write what is left of the log."""
        if hasattr(self, "_log"):
            self._log.close()

    async def check_health(self) -> None:
        """Tell Ray, which asks every few seconds, whether to put another replica in this one's place.

        Raises:
            RuntimeError: One batch has been computed for longer than `Limits.hung_s`.
        """
        if hung := self._host.hung:
            raise RuntimeError(hung)

    async def metrics(self) -> tuple[str, bytes]:
        """Return this replica's name, and what it counted, in Prometheus' text format."""
        return self._name, self._host.metrics.text()

    async def _collect(self) -> bytes:
        """Return what all replicas counted: whoever asks is led to any of them."""
        everyone = serve.get_deployment_handle(self._deployment, self._app).broadcast("metrics")
        details = await everyone.results_async(timeout_s=_COLLECT_S, return_exceptions=True)
        return merge(dict(each for each in details if not isinstance(each, BaseException)))


def app(arguments: Arguments) -> RayApplication:
    """Return the application for `serve run` and `serve.run`, from `Arguments`.

    Raises:
        UnknownNameError: No such schedule.
    """
    if arguments.schedule is not None:
        get_schedule(arguments.schedule)
    # Not as decorators: the class would no longer be found under its name, where the replicas' processes look for it.
    deployment = serve.deployment(serve.ingress()(PolicyReplica))
    return deployment.options(
        name="foreact",
        num_replicas=arguments.num_replicas,
        max_ongoing_requests=arguments.max_connections,  # a connection is a request that takes long
        graceful_shutdown_timeout_s=arguments.drain_s,
        graceful_shutdown_wait_loop_s=1.0,
        health_check_period_s=2.0,
        health_check_timeout_s=10.0,
        ray_actor_options={"num_cpus": arguments.num_cpus, "num_gpus": arguments.num_gpus},
        request_router_config=RequestRouterConfig(request_router_class="foreact.serving.ray_router.ReturningRouter"),  # type: ignore[arg-type]
    ).bind(arguments)
