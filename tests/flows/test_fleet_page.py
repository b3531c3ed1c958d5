"""The commands that the page about the fleet shows are run, in its order, against a real server."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from pointsman.settings import parse
from pointsman.testing.markdown import code_blocks
from pointsman.testing.serving import serving

PAGE = Path(__file__).resolve().parents[2] / "docs/fleet.md"
COMMANDS = [line for block in code_blocks(PAGE) if "run" in block.marks for line in block.code.splitlines()]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_page_s_commands_do_what_it_says(tmp_path: Path) -> None:
    answers: list[tuple[str, str]] = []

    async def run() -> None:
        file = f"cache_dir: {tmp_path}\nlog: {{level: error}}\nmodels: [{{id: speaker, backend: tts}}]"
        async with serving(parse(file)) as (app, url):
            for command in COMMANDS:
                done = await asyncio.create_subprocess_shell(
                    command.replace("http://127.0.0.1:8001", url), stdout=asyncio.subprocess.PIPE
                )
                answers.append((command, (await done.communicate())[0].decode()))
                assert done.returncode == 0
            assert app.settings.aliases == {"voice": "speaker"}

    asyncio.run(run())
    assert len(answers) >= 7
    for command, answer in answers:
        if command.endswith("/logs"):
            continue
        assert "error" not in json.loads(answer), command
        if "-X" in command:
            assert json.loads(answer)["done"] is True
    [aliases] = [json.loads(answer) for command, answer in answers if command.endswith("8001/aliases")]
    assert aliases["data"][0]["model"] == "speaker"
