"""Gates: one case a gate, and their order."""

import pytest
from msgspec.structs import replace

from pointsman.policy.ask import Ask, needs_of
from pointsman.policy.filters import GATES, PASSING, UNSUITED, Gate, rejection
from pointsman.policy.reasons import REMEDIES
from pointsman.testing.decisions import ask, cold, hot, measured, world
from pointsman.types import Breaker, DeploymentView, Kind, Limits, Modality, ModelCard, Request, Signals

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO
CARD = ModelCard(id="m", name="M", kinds=(Kind.CHAT,), context_tokens=1000, cost_per_mtok=1.0, tokens_per_s=10.0)
EAR = ModelCard(id="ear", name="Ear", kinds=(Kind.TRANSCRIPTION,), inputs=(AUDIO,), languages=("en",))
READER = replace(CARD, inputs=(TEXT, IMAGE), requires=(IMAGE,))
HOT = hot("m")


def needs(
    request: Request | None = None,
    signals: Signals | None = None,
    budget_bytes: int = 0,
    gpus: tuple[tuple[int, int, int], ...] = (),
) -> Ask:
    return needs_of(request or ask(), signals or measured(), world(budget_bytes=budget_bytes, gpus=gpus), (), "")


def heard(language: str, p: float) -> Signals:
    return measured("stt", inputs=(AUDIO,), language=language, language_p=p)


TRANSCRIBE = ask(kind=Kind.TRANSCRIPTION, text="")

REJECTED: list[tuple[Gate, str, Ask, ModelCard, DeploymentView]] = [
    (Gate.NOT_ALLOWED, "not open to this API key", needs(ask(limits=Limits(models=("n",)))), CARD, HOT),
    (Gate.KIND, "not embedding", needs(ask(kind=Kind.EMBEDDING)), CARD, HOT),
    (Gate.INPUT, "not image", needs(signals=measured(inputs=(TEXT, IMAGE))), CARD, HOT),
    (Gate.NOTHING_TO_READ, "only reads image", needs(), READER, HOT),
    (Gate.OUTPUT, "not audio", needs(replace(ask(), outputs=(TEXT, AUDIO))), CARD, HOT),
    (Gate.TOOLS, "cannot call tools", needs(signals=measured(needs_tools=True)), CARD, HOT),
    (Gate.TOOLS, "cannot call tools", needs(ask(limits=Limits(needs_tools=True))), CARD, HOT),
    (Gate.LANGUAGE, "is for en, not hi", needs(TRANSCRIBE, heard("hi", 0.95)), EAR, HOT),
    (Gate.LANGUAGE, "is for en, not hi", needs(signals=measured("stt", inputs=(TEXT, AUDIO), language="hi")),
     replace(EAR, kinds=(Kind.CHAT,), inputs=(TEXT, AUDIO)), HOT),
    (Gate.CONTEXT, "about 1,350 tokens for the prompt in a", needs(signals=measured(prompt_tokens=1350)),
     CARD, HOT),
    (Gate.COST, "above the limit of 0.5", needs(ask(limits=Limits(max_cost_per_mtok=0.5))), CARD, HOT),
    (Gate.LATENCY, "about 12.8 s", needs(ask(limits=Limits(max_latency_s=5))), CARD, HOT),
    (Gate.LATENCY, "about 22.8 s", needs(ask(limits=Limits(max_latency_s=15))), CARD, cold("m", ready_in_s=10)),
    (Gate.LATENCY, "about 9.0 s, above the limit of 2 s (9.00 s to begin (measured), its pace is not known)",
     needs(ask(limits=Limits(max_latency_s=2))), replace(CARD, tokens_per_s=0), replace(HOT, latency_s=9.0)),
    (Gate.DRAINING, "shut down", needs(), CARD, replace(HOT, state="draining")),
    (Gate.FAILED, "failed to start: no file", needs(), CARD, replace(HOT, state="failed", last_error="no file")),
    (Gate.FAILED, "failed to answer", needs(), CARD, replace(HOT, state="failed", is_managed=False)),
    (Gate.TOO_BIG, "200 MB, more than the whole budget of 100 MB",
     needs(budget_bytes=100_000_000), CARD, replace(cold("m"), memory_bytes=200_000_000)),
    (Gate.TOO_BIG, "needs 9 MB of GPU 1, more than its whole budget of 8 MB",
     needs(gpus=((0, 8_000_000, 0), (1, 8_000_000, 0))), CARD, replace(cold("m"), gpu_bytes=((1, 9_000_000),))),
    (Gate.RATE, "room in 7.0 s", replace(needs(), full=(("other", 2.0), (CARD.id, 7.0))), CARD, HOT),
    (Gate.FORCED, "by an operator", needs(), CARD, replace(HOT, breaker=Breaker.FORCED_OPEN)),
    (Gate.BREAKER, "again in 7 s", needs(), CARD, replace(HOT, breaker=Breaker.OPEN, retry_in_s=7)),
    (Gate.BREAKER, "being tried", needs(), CARD, replace(HOT, breaker=Breaker.HALF_OPEN, is_tried=True)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "why", "need", "card", "view"), REJECTED)
def test_each_gate_rejects_and_says_why(code: Gate, why: str, need: Ask, card: ModelCard, view: DeploymentView) -> None:
    found = rejection(need, card, view)
    assert found is not None
    assert (found.code, found.deployment_id, found.model_id) == (code, view.id, card.id)
    assert why in found.why


def test_every_gate_of_the_table_has_a_case_and_every_code_a_remedy() -> None:
    assert {code for code, *_ in REJECTED} == {code for code, _ in GATES}
    assert set(REMEDIES) == set(Gate)
    assert set(Gate) - {code for code, _ in GATES} == {Gate.NOT_NAMED, Gate.NOT_CONFIGURED}
    assert not UNSUITED & PASSING


PASSED: list[tuple[str, Ask, ModelCard, DeploymentView]] = [
    ("an ordinary chat", needs(), CARD, HOT),
    ("a reader with something to read", needs(signals=measured(inputs=(TEXT, IMAGE))), READER, HOT),
    ("a prompt beside a recording", needs(TRANSCRIBE, measured("stt", inputs=(TEXT, AUDIO))), EAR, HOT),
    ("a language that is not sure", needs(TRANSCRIBE, heard("hi", 0.6)), EAR, HOT),
    ("a language that nobody knows", needs(TRANSCRIBE, heard("und", 0.9)), EAR, HOT),
    ("a regional language", needs(TRANSCRIBE, heard("en-GB", 0.9)), EAR, HOT),
    ("an ear for every language", needs(TRANSCRIBE, heard("hi", 0.9)), replace(EAR, languages=()), HOT),
    ("French for an English chat model", needs(signals=measured(language="fr")), replace(CARD, languages=("en",)), HOT),
    ("a prompt that just fits", needs(signals=measured(prompt_tokens=1337)), CARD, HOT),
    ("an unknown context", needs(signals=measured(prompt_tokens=10**6)), replace(CARD, context_tokens=0), HOT),
    ("an answer of unknown speed", needs(ask(limits=Limits(max_latency_s=1))), replace(CARD, tokens_per_s=0), HOT),
    ("a big model that is there already", needs(budget_bytes=1), CARD, replace(HOT, memory_bytes=2)),
    ("a big model while the budget is unknown", needs(), CARD, replace(cold("m"), memory_bytes=2)),
    ("a half-open breaker", needs(), CARD, replace(HOT, breaker=Breaker.HALF_OPEN)),
]


@pytest.mark.parametrize(("need", "card", "view"), [case[1:] for case in PASSED], ids=[case[0] for case in PASSED])
def test_what_passes(need: Ask, card: ModelCard, view: DeploymentView) -> None:
    assert rejection(need, card, view) is None


def test_the_first_failing_gate_speaks() -> None:
    """What a model can never do outranks the state of the moment, and an open breaker comes last of all."""
    view = replace(HOT, state="failed", breaker=Breaker.OPEN)
    need = needs(signals=measured(needs_tools=True, prompt_tokens=5000))
    codes = []
    for card in (CARD, replace(CARD, tools=True), replace(CARD, tools=True, context_tokens=0)):
        found = rejection(need, card, view)
        codes.append(found.code if found else None)
    assert codes == [Gate.TOOLS, Gate.CONTEXT, Gate.FAILED]


def test_an_answer_reserves_little_whatever_its_ceiling() -> None:
    guessed = needs(signals=measured(output_tokens=5000))
    stated = needs(ask(limits=Limits(max_output_tokens=300)), measured(output_tokens=5000))
    assert (guessed.room_tokens, guessed.answer_tokens) == (64, 5000)
    assert (stated.room_tokens, stated.answer_tokens) == (64, 300)
    generous = needs(ask(limits=Limits(max_output_tokens=900)), measured(output_tokens=100))
    assert (generous.room_tokens, generous.answer_tokens) == (64, 100)
    assert needs(ask(limits=Limits(max_output_tokens=900)), measured(output_tokens=0)).answer_tokens == 900
