"""What the tests of the fleet share."""

from pointsman.fleet.events import (
    Cancel,
    Effect,
    Event,
    Exited,
    Grant,
    Healthy,
    Refuse,
    Release,
    Start,
    Started,
    StartFailed,
    Stopped,
    Taken,
    Tick,
    Unhealthy,
    WakeAt,
    Want,
)
from pointsman.fleet.machine import initial, step
from pointsman.fleet.values import INFINITY, Deployment, DeploymentSpec, Rules

RULES = Rules(max_queue=3, max_wait_s=30, min_resident_s=5, backoff_s=0.5, stable_s=10)


def spec(name: str, memory: int = 40, **more: object) -> DeploymentSpec:
    settings = {"id": name, "model_id": f"model-{name}", "memory_bytes": memory, **more}
    return DeploymentSpec(**settings)  # type: ignore[arg-type]  # a table of fields is shorter than many keywords


class Play:
    """A state and its moment; each method sends one event and returns what followed."""

    def __init__(
        self,
        *specs: DeploymentSpec,
        budget: int = 100,
        rules: Rules = RULES,
        gpu_budgets: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.now_s = 100.0
        self.state = initial(specs, rules, budget, gpu_budgets)
        self.tickets = 0
        self.send(Tick(at_s=self.now_s))

    def send(self, event: Event) -> tuple[Effect, ...]:
        self.state, effects = step(self.state, event)
        return effects

    def of(self, name: str) -> Deployment:
        return self.state.deployments[name]

    def want(
        self, name: str, *, patience_s: float = INFINITY, load: bool = False, polite: bool = False
    ) -> list[Effect]:
        self.tickets += 1
        event = Want(
            at_s=self.now_s,
            deployment_id=name,
            ticket=self.tickets,
            deadline_s=self.now_s + patience_s,
            for_load=load,
            may_evict=not polite,
        )
        return plain(self.send(event))

    def cancel(self, name: str, ticket: int) -> list[Effect]:
        return plain(self.send(Cancel(at_s=self.now_s, deployment_id=name, ticket=ticket)))

    def take(self, name: str, ticket: int) -> list[Effect]:
        return plain(self.send(Taken(at_s=self.now_s, deployment_id=name, ticket=ticket)))

    def release(self, name: str, ticket: int) -> list[Effect]:
        return plain(self.send(Release(at_s=self.now_s, deployment_id=name, ticket=ticket)))

    def started(self, name: str, measured: int = 0) -> list[Effect]:
        life = self.of(name).life
        return plain(self.send(Started(at_s=self.now_s, deployment_id=name, life=life, measured_bytes=measured)))

    def failed(self, name: str, code: str = "loading_failed") -> list[Effect]:
        life = self.of(name).life
        return plain(self.send(StartFailed(at_s=self.now_s, deployment_id=name, life=life, why="bad magic", code=code)))

    def died(self, name: str, code: int = -9) -> list[Effect]:
        return plain(self.send(Exited(at_s=self.now_s, deployment_id=name, life=self.of(name).life, code=code)))

    def stopped(self, name: str) -> list[Effect]:
        return plain(self.send(Stopped(at_s=self.now_s, deployment_id=name, life=self.of(name).life)))

    def sick(self, name: str) -> list[Effect]:
        event = Unhealthy(at_s=self.now_s, deployment_id=name, life=self.of(name).life, why="no answer")
        return plain(self.send(event))

    def well(self, name: str) -> list[Effect]:
        return plain(self.send(Healthy(at_s=self.now_s, deployment_id=name, life=self.of(name).life)))

    def pause(self, duration_s: float) -> list[Effect]:
        """Time passes; ticks come when the machine asked for them, and only then."""
        end_s, effects = self.now_s + duration_s, []
        while self.now_s < self.state.wake_at_s <= end_s:
            self.now_s = self.state.wake_at_s
            effects += plain(self.send(Tick(at_s=self.now_s)))
        self.now_s = end_s
        return effects

    def ready(self, *names: str, load_s: float = 2.0) -> None:
        """Load them as an operator would."""
        for name in names:
            assert Start(deployment_id=name, life=self.of(name).life + 1) in self.want(name, load=True)
        self.pause(load_s)
        for name in names:
            self.started(name)

    def busy(self, name: str) -> int:
        """One taken slot of a ready deployment."""
        assert self.want(name) == [Grant(ticket=self.tickets)]
        self.take(name, self.tickets)
        return self.tickets


def plain(effects: tuple[Effect, ...]) -> list[Effect]:
    """Without the timer."""
    return [effect for effect in effects if not isinstance(effect, WakeAt)]


def refusal(effects: list[Effect]) -> Refuse:
    [refuse] = [effect for effect in effects if isinstance(effect, Refuse)]
    return refuse
