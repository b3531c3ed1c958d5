"""The benchmark measures what it says: CPU by the kernel's count, answers that are right, slopes and targets."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psutil
import pytest
from bench.load import Job
from bench.overhead import Bench, LoadGenerator, Plan, Scenario, scenarios
from bench.processes import Child, NotReadyError, cpu_s, free_port, pid_listening_on, rss_bytes, tree
from bench.report import Measurement, Report, figures_of, misses_of, show
from bench.servers import (
    BUFFERED,
    CONFIG,
    ROUTING_OFF,
    Server,
    find_peer,
    model_names,
    start_passthrough,
    start_upstream,
)
from rich.console import Console

from pointsman.settings import parse

BURN = "import time\nwhile time.process_time() < 0.4: pass\n"
PARENT = (
    f"import subprocess, sys, time\nchild = subprocess.Popen([sys.executable, '-c', {BURN + 'time.sleep(30)'!r}])\n"
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """A pass-through, and the port of its upstream."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("bench")
        upstream_port = start_upstream(stack, folder)
        yield start_passthrough(stack, folder, upstream_port), upstream_port


@pytest.fixture
def load() -> Iterator[LoadGenerator]:
    arguments = [sys.executable, "-m", "bench.load"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield LoadGenerator(process)
        process.terminate()


def post(port: int, body: dict[str, object]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_cpu_is_the_kernels_count_and_includes_children(tmp_path: Path) -> None:
    with Child("parent", [sys.executable, "-c", f"{PARENT}\n{BURN}\ntime.sleep(30)"], tmp_path / "log") as child:
        deadline_s = time.monotonic() + 20
        while cpu_s(child.pid) < 0.8 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        pids = tree(child.pid)
        ticks = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        assert len(pids) == 2
        assert cpu_s(child.pid) == pytest.approx(ticks / 100, abs=0.05)
        assert rss_bytes(child.pid) > 8_000_000
    assert all(not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in pids)


def test_a_server_that_dies_says_why(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with Child("broken", arguments, tmp_path / "log") as child, pytest.raises(NotReadyError, match="no such model"):
        child.wait_until_ready(f"http://127.0.0.1:{free_port()}/ready", timeout_s=10)


@pytest.mark.parametrize("stream", [False, True])
def test_the_passthrough_passes_bytes_through(servers: tuple[Server, int], stream: bool) -> None:
    passthrough, upstream_port = servers
    body = {"model": "mock-n5-i1", "stream": stream, "messages": []}
    assert post(passthrough.port, body) == post(upstream_port, body)
    assert post(passthrough.port, {"model": "mock-e1-s503"})[0] == 503


def test_a_peer_is_found_by_its_port(servers: tuple[Server, int]) -> None:
    passthrough, _ = servers
    assert pid_listening_on(passthrough.port) == passthrough.pid
    assert find_peer("stand-in", f"http://127.0.0.1:{passthrough.port}").pid == passthrough.pid
    with pytest.raises(NotReadyError):
        pid_listening_on(free_port())


def test_the_load_generator_counts_answers(servers: tuple[Server, int], load: LoadGenerator) -> None:
    def job(model: str) -> Job:
        body = json.dumps({"model": model, "stream": True})
        return Job(port=servers[1], path="/v1/chat/completions", body=body, connections=4, seconds=0.2)

    paced = load.run(job("mock-n5-i10"))
    assert paced.requests == pytest.approx(0.2 / 0.04 * 4, abs=8)
    assert paced.p50_ms == pytest.approx(45, abs=15)
    assert "[DONE]" in paced.sample
    assert load.run(job("mock-e1")).failed > 0
    assert load.run(job("mock-reset")).failed == 4


def test_a_whole_run_with_a_stand_in_peer(servers: tuple[Server, int], load: LoadGenerator) -> None:
    passthrough, _ = servers
    peer = find_peer("stand-in", f"http://127.0.0.1:{passthrough.port}")
    said: list[str] = []
    bench = Bench([passthrough, peer], load, Plan(rounds=2, window_s=0.05, warm_s=0.02), said.append)
    bench.run()
    same = {server.name: rss_bytes(server.pid) for server in (passthrough, peer)}
    report = Report.of([passthrough, peer], bench.kept, same, same, direct_p50_ms=0.1, direct_p99_ms=0.2)
    assert said == ["round 1 of 2", "round 2 of 2"]
    for figures in report.servers:
        assert 20 < figures.buffered_us < 5000
        assert figures.buffered_auto_us is None
        assert 1 < figures.paced_event_us < 500
        assert figures.stream_us > figures.buffered_us / 2
    console = Console(width=160, record=True)
    show(report, console)
    text = console.export_text()
    assert "pass-through" in text
    assert "×" in text
    assert "missed" not in text


def test_a_cheap_wrong_answer_does_not_win(servers: tuple[Server, int], load: LoadGenerator) -> None:
    bench = Bench([servers[0]], load, Plan(rounds=1, window_s=0.05, warm_s=0.02), lambda _: None)
    scenario = Scenario("stream", "mock-n2-nodone", stream=True)
    with pytest.raises(NotReadyError, match="failed `stream`"):
        bench._check(servers[0], scenario, load.run(scenario.job(servers[0], 0.05)))


def window(cpu_us: float) -> Measurement:
    return Measurement(requests=1000, cpu_us=cpu_us, p50_ms=1.0, p99_ms=2.0, per_s=100.0)


def test_slopes_medians_and_targets() -> None:
    kept = {scenario.name: [window(100.0)] * 3 for scenario in scenarios()}
    kept["buffered"] = [window(460.0), window(470.0), window(900.0)]
    kept["stream 0.01 32"] = [window(100.0), window(100.0), window(300.0)]
    kept["stream 0.01 256"] = [window(100.0 + 224 * 4), window(100.0 + 224 * 5), window(300.0 + 224 * 90)]
    server = Server(name=ROUTING_OFF, port=1, pid=1, ready_s=3.0)
    figures = figures_of(server, kept, 130_000_000, 140_000_000, direct_p50_ms=0.25, direct_p99_ms=0.5)
    assert (figures.buffered_us, figures.event_us, figures.joined_event_us) == (470.0, 5.0, 0.0)
    assert (figures.added_p50_ms, figures.added_p99_ms, figures.idle_mb) == (0.75, 1.5, 130.0)
    memory = {ROUTING_OFF: 130_000_000}
    report = Report.of([server], {ROUTING_OFF: kept}, memory, memory, direct_p50_ms=0.25, direct_p99_ms=0.5)
    assert [miss.split(": ")[1] for miss in report.misses] == [
        "CPU of a buffered request without the classifier, µs",
        "memory without engines, MB",
        "start to ready, s",
    ]
    assert not misses_of(msgspec.structs.replace(figures, name="pass-through"))


def test_the_configuration_is_valid() -> None:
    models = "\n".join(f"  - {{ id: {name}, backend: openai, url: http://127.0.0.1:1/v1 }}" for name in model_names())
    for routing in ("true", "false"):
        settings = parse(CONFIG.format(port=1, routing=routing, buffered=BUFFERED, models=models))
        assert settings.routing.enabled == (routing == "true")
        assert len(settings.models) == 6
