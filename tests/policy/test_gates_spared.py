"""Gates that are not asked, because an exact test says that they would let it pass, would have let it pass."""

from hypothesis import given
from tests.policy.test_filters import PASSED, REJECTED
from tests.policy.test_router_properties import Asked, asked, configurations, router

from pointsman.policy.ask import Ask, needs_of
from pointsman.policy.filters import OF_MOMENT, OF_REQUEST, Gates, is_plain, is_up
from pointsman.types import DeploymentView, ModelCard


def stopped(gates: Gates, ask: Ask, card: ModelCard, view: DeploymentView) -> list[str]:
    return [code for code, check in gates if check(ask, card, view) is not None]


def agrees(ask: Ask, card: ModelCard, view: DeploymentView) -> bool:
    spared = (OF_REQUEST if is_plain(ask, card) else ()) + (OF_MOMENT if is_up(ask, view) else ())
    return not stopped(spared, ask, card, view)


@given(configurations(), asked)
def test_no_gate_would_have_stopped_who_is_spared(configuration: dict[str, object], case: Asked) -> None:
    request, signals, world = case
    ask = needs_of(request, signals, world, (), "")
    cards = router(configuration).cards
    assert all(agrees(ask, card, view) for card in cards for view in world.deployments)


def test_every_gate_s_own_cases_agree() -> None:
    assert all(agrees(ask, card, view) for _, _, ask, card, view in REJECTED)
    assert all(agrees(ask, card, view) for _, ask, card, view in PASSED)


def test_an_ordinary_request_is_spared_them_all() -> None:
    _, ask, card, view = PASSED[0]
    assert is_plain(ask, card)
    assert is_up(ask, view)
