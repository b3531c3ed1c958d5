"""A real server whose configuration is rewritten under its callers, and which is then told to leave."""

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
from bench.reload import Under, leave

from pointsman.testing.upstream import FaultUpstream

CALLERS, REQUESTS, REWRITES, PAUSE_S = 20, 10, 16, 0.1


def test_nothing_is_lost_while_the_file_is_rewritten_nor_when_the_server_leaves(tmp_path: Path) -> None:
    async def scene() -> None:
        async with FaultUpstream() as upstream, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
            under = Under(tmp_path, upstream)
            async with under.served(session) as process:
                calling = asyncio.gather(*(under.call(session, one, REQUESTS) for one in range(CALLERS)))
                await under.rewrite(REWRITES, PAUSE_S, process)
                await calling
                assert [told.end for told in under.told] == ["whole"] * CALLERS * REQUESTS
                await the_last_file_counts(under, session, process)
                await the_server_leaves(under, session, process)
        log = under.log.read_text()
        assert "Traceback" not in log
        assert "unforeseen_error" not in log

    asyncio.run(asyncio.wait_for(scene(), 120))


async def the_last_file_counts(
    under: Under, session: aiohttp.ClientSession, process: asyncio.subprocess.Process
) -> None:
    last = under.tree(1000) | {"cache_dir": "/nowhere"}
    under.write("models: {}")
    process.send_signal(signal.SIGHUP)
    for _ in range(100):
        info = json.loads((await under.get(session, "/router/info"))[1])
        if "models: must be a list" in info["config"]["last_error"]:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError(info["config"])
    assert info["models"]
    under.write(json.dumps(last))  # no signal: the file is looked at
    for _ in range(200):
        info = json.loads((await under.get(session, "/router/info"))[1])
        if not info["config"]["last_error"] and not info["config"]["replacing"]:
            break
        await asyncio.sleep(0.05)
    wanted = {model["id"] for model in last["models"]}
    assert {model["id"] for model in info["models"]} == wanted | {"auto", "mine"}
    assert {view["model_id"] for view in info["deployments"]} == wanted
    metrics = (await under.get(session, "/metrics"))[1]
    assert 'agent_router_config_reloads_total{result="ok"}' in metrics
    assert "extra-" not in metrics, "a removed model has series"
    for _ in range(100):  # lines are written by a thread
        if "only after a restart: cache_dir" in (log := under.log.read_text()):
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError(log)
    assert "models added: " in log


async def the_server_leaves(under: Under, session: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> None:
    left = await leave(under, session, process, 4, 0.1)
    assert (left.ready[0], json.loads(left.ready[1])) == (503, {"status": "draining"})
    assert left.late.end == "whole"
    assert [told.end for told in left.long] == ["whole"] * 4
    assert [told.end for told in left.endless] == ["error draining"] * 4
    assert left.code == 0
