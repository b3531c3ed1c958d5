"""`python -m bench.overhead`: what Pointsman adds, beside a bare pass-through of the same stack in the same run.

Method: upstream without delay, servers and load generator are processes of their own on 127.0.0.1. The cost of a
request is the CPU time the server's process tree took in a window, by the kernel's clock, over the requests of that
window; latencies are read at one connection. Windows of the servers alternate (A B, B A, …), medians are kept: on a
shared machine trust CPU and the ratios of one run. A stream event costs the slope between streams of 32 and 256
tokens, so that what a request costs by itself falls out; it is taken for events that arrive together, one by one as
fast as they can, and a millisecond apart, where waking up for each is most of the price.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.markup import escape

from bench.load import Job, Result
from bench.processes import NotReadyError, cpu_s, rss_bytes
from bench.readme import rewrite
from bench.report import Measurement, Report, show
from bench.servers import (
    BUFFERED,
    LONG_TOKENS,
    PACES_MS,
    SHORT_TOKENS,
    Server,
    find_peer,
    start_passthrough,
    start_pointsman,
    start_upstream,
    stream_model,
)

CHAT = "/v1/chat/completions"
WORDS = "Please write a short Python function that reverses the words of a sentence, and explain it briefly. " * 4
CONNECTIONS = 16
STREAM_CONNECTIONS = 8


class Plan(msgspec.Struct, frozen=True):
    """How long and how often."""

    rounds: int
    window_s: float
    warm_s: float


FULL = Plan(rounds=5, window_s=0.6, warm_s=0.4)
QUICK = Plan(rounds=2, window_s=0.25, warm_s=0.2)


class LoadGenerator:
    """The load generator's process; one job at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def run(self, job: Job) -> Result:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise NotReadyError("the load generator ended; its error is above")
        return msgspec.json.decode(line, type=Result)


class Scenario(msgspec.Struct, frozen=True):
    """One kind of request. `only_routers`: for servers that choose a model by themselves."""

    name: str
    model: str
    stream: bool = False
    connections: int = CONNECTIONS
    only_routers: bool = False

    def job(self, server: Server, seconds: float) -> Job:
        model = server.auto_model if self.only_routers else self.model
        message = {"role": "user", "content": WORDS}
        body: dict[str, object] = {"model": model, "messages": [message], "temperature": 0.2}
        if self.stream:
            body["stream"] = True
        text = msgspec.json.encode(body).decode()
        return Job(port=server.port, path=CHAT, body=text, connections=self.connections, seconds=seconds)

    def is_for(self, server: Server) -> bool:
        return not self.only_routers or bool(server.auto_model)


def scenarios() -> list[Scenario]:
    listed = [
        Scenario("buffered", BUFFERED),
        Scenario("buffered auto", BUFFERED, only_routers=True),
        Scenario("latency", BUFFERED, connections=1),
    ]
    for pace_ms in PACES_MS:
        for tokens in (SHORT_TOKENS, LONG_TOKENS):
            model = stream_model(tokens, pace_ms)
            listed.append(Scenario(f"stream {pace_ms:g} {tokens}", model, stream=True, connections=STREAM_CONNECTIONS))
    return listed


class Bench:
    """Runs windows and keeps what they showed: server → scenario → measurements."""

    def __init__(self, servers: list[Server], load: LoadGenerator, plan: Plan, say: Callable[[str], None]) -> None:
        self._servers = servers
        self._load = load
        self._plan = plan
        self._say = say
        self.kept: dict[str, dict[str, list[Measurement]]] = {server.name: {} for server in servers}

    def run(self) -> None:
        """Warm every server up with every scenario, then measure in alternating order."""
        for server in self._servers:
            for scenario in scenarios():
                if scenario.is_for(server):
                    self._check(server, scenario, self._load.run(scenario.job(server, self._plan.warm_s)))
        for number in range(self._plan.rounds):
            self._say(f"round {number + 1} of {self._plan.rounds}")
            order = self._servers if number % 2 == 0 else self._servers[::-1]
            for scenario in scenarios():
                for server in order:
                    if scenario.is_for(server):
                        self._measure(server, scenario)

    def _measure(self, server: Server, scenario: Scenario) -> None:
        before_s = cpu_s(server.pid)
        result = self._load.run(scenario.job(server, self._plan.window_s))
        spent_s = cpu_s(server.pid) - before_s
        self._check(server, scenario, result)
        measurement = Measurement(
            requests=result.requests,
            cpu_us=1e6 * spent_s / result.requests,
            p50_ms=result.p50_ms,
            p99_ms=result.p99_ms,
            per_s=result.requests / result.elapsed_s,
        )
        self.kept[server.name].setdefault(scenario.name, []).append(measurement)

    def _check(self, server: Server, scenario: Scenario, result: Result) -> None:
        """A cheap wrong answer must not win."""
        ending = "[DONE]" if scenario.stream else "}"
        if result.failed or not result.requests or ending not in result.sample:
            raise NotReadyError(
                f"{server.name} failed `{scenario.name}`: {result.failed} of {result.requests} failed; "
                f"the last answer ended in {result.sample!r}"
            )


def measure(stack: ExitStack, arguments: argparse.Namespace, console: Console) -> Report:
    """Start everything, measure, and leave the ending to the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
    upstream_port = start_upstream(stack, folder)
    servers = [start_passthrough(stack, folder, upstream_port)]
    try:
        servers += [start_pointsman(stack, folder, upstream_port, routing=routing) for routing in (False, True)]
    except NotReadyError as error:
        console.print(f"[yellow]Pointsman is left out:[/] {escape(str(error))}", highlight=False)
    servers += [find_peer(*peer.split("=", 1)) for peer in arguments.peer]
    time.sleep(0.5)
    idle = {server.name: rss_bytes(server.pid) for server in servers}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    stack.enter_context(process)
    stack.callback(process.terminate)
    load = LoadGenerator(process)
    bench = Bench(servers, load, QUICK if arguments.quick else FULL, lambda text: console.print(f"[dim]{text}[/]"))
    direct = Server(name="upstream", port=upstream_port, pid=process.pid)
    bench.run()
    latency = next(scenario for scenario in scenarios() if scenario.name == "latency")
    base = [load.run(latency.job(direct, bench_window_s)) for bench_window_s in (0.2, 0.5, 0.5)][1:]
    return Report.of(
        servers=servers,
        kept=bench.kept,
        idle=idle,
        after={server.name: rss_bytes(server.pid) for server in servers},
        direct_p50_ms=median(result.p50_ms for result in base),
        direct_p99_ms=median(result.p99_ms for result in base),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about 20 s instead of 90 s; figures scatter more")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="write the table of costs into this page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=URL", help="measure this server as well")
    arguments = parser.parse_args()
    console = Console()
    try:
        with ExitStack() as stack:
            report = measure(stack, arguments, console)
    except NotReadyError as error:
        console.print(f"[red]{escape(str(error))}[/]", highlight=False)
        return 1
    show(report, console)
    if arguments.readme:
        rewrite(arguments.readme, report)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
