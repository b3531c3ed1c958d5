"""What is loaded at the start, and how each of these loads went.

Knows: the wants for it, and their answers. Does not know: how anything is loaded.
"""

import asyncio
from collections.abc import Mapping

from pointsman.fleet.events import Loaded, Refuse
from pointsman.fleet.values import INFINITY, LoadReport
from pointsman.fleet.writer import Answer, Writer


class Preloads:
    """`loaded`: how the last load of each deployment went."""

    def __init__(self, writer: Writer, loaded: Mapping[str, Loaded]) -> None:
        self._writer = writer
        self._loaded = loaded
        self._answers: dict[str, asyncio.Future[Answer]] = {}

    def begin(self, deployment_id: str) -> None:
        """Want it ready; nobody has to leave for it."""
        ticket, answer = self._writer.ask(deployment_id, INFINITY, for_load=True, may_evict=False)
        if answer is None:
            self._answers[deployment_id] = self._writer.answer_of(ticket)
        else:
            self._answers[deployment_id] = done = asyncio.get_running_loop().create_future()
            done.set_result(answer)

    def forget(self, deployment_id: str) -> None:
        """It is gone."""
        self._answers.pop(deployment_id, None)

    async def ended(self) -> tuple[LoadReport, ...]:
        """Once every one is ready or given up."""
        answers = {name: await asyncio.shield(future) for name, future in tuple(self._answers.items())}
        return tuple(self._report(name, answer) for name, answer in answers.items() if name in self._answers)

    def _report(self, deployment_id: str, answer: Answer) -> LoadReport:
        model_id = self._writer.known(deployment_id).spec.model_id
        if isinstance(answer, Refuse):
            return LoadReport(deployment_id=deployment_id, model_id=model_id, error=answer.why)
        loaded = self._loaded[deployment_id]
        return LoadReport(
            deployment_id=deployment_id, model_id=model_id, load_s=loaded.load_s, memory_bytes=loaded.memory_bytes
        )

    def __repr__(self) -> str:
        return f"Preloads({', '.join(self._answers) or 'none'})"
