"""`pointsman experiments` against a server: the table, one experiment's changes, an operator's word."""

import asyncio
import json
from pathlib import Path

from typer.testing import CliRunner

from pointsman.cli import app
from pointsman.settings import parse
from pointsman.testing.serving import serving

TREE = {
    "log": {"level": "error", "requests": False},
    "routing": {"encoder": {"enabled": False}},
    "experiments": [{"name": "pair", "kind": "small_large", "control": "8b", "treatment": "3b"}],
    "models": [{"id": name, "backend": "openai", "url": "http://127.0.0.1:9/v1"} for name in ("3b", "8b")],
}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["experiments", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_how_it_stands_and_what_an_operator_changes(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(parse(json.dumps(TREE | {"cache_dir": str(tmp_path)}))) as (_, url):
            code, said = await asyncio.to_thread(run, "--url", url)
            assert code == 0
            assert all(word in said for word in ("pair", "small_large", "collecting", "3b", "8b", "50%", "0 / 0", "–"))
            code, said = await asyncio.to_thread(run, "pair", "--ratio", "0.2", "--url", url)
            assert code == 0
            assert "ratio (operator), 50% → 20%: asked from 127.0.0.1" in said
            code, said = await asyncio.to_thread(run, "pair", "--do", "pause", "--url", url)
            assert (code, "paused" in said) == (0, True)
            code, said = await asyncio.to_thread(run, "pair", "--do", "dance", "--url", url)
            assert code == 1
            assert "There is no experiment x." in (await asyncio.to_thread(run, "x", "--url", url))[1]

    asyncio.run(scene())


def test_nobody_there() -> None:
    code, said = run("--url", "http://127.0.0.1:9")
    assert code == 1
    assert "no server at" in said
