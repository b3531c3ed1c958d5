"""The names that labels go by, the same for callers and settings."""

from typing import get_args

import msgspec
import pytest
from pydantic import ValidationError

from pointsman.edge.decode import Routing
from pointsman.labels import COMPLEXITY_NAMES, ComplexityName
from pointsman.settings import RuleSet
from pointsman.types import Complexity


@pytest.mark.parametrize("name", get_args(ComplexityName))
def test_callers_and_settings_call_complexity_alike(name: str) -> None:
    meant = COMPLEXITY_NAMES[name]
    said = msgspec.json.encode({"complexity": name})
    assert msgspec.json.decode(said, type=Routing).hints().complexity is meant
    assert RuleSet.model_validate_json(said).complexity is meant


@pytest.mark.parametrize("said", [b'{"complexity": "hard"}', b'{"complexity": ["low"]}', b'{"complexity": 3}'])
def test_what_is_no_name_is_refused(said: bytes) -> None:
    with pytest.raises(ValidationError, match="complexity"):
        RuleSet.model_validate_json(said)


def test_every_complexity_has_its_own_name_and_two_have_another() -> None:
    assert set(get_args(ComplexityName)) == set(COMPLEXITY_NAMES)
    assert {name: COMPLEXITY_NAMES[name] for name in Complexity} == {str(one): one for one in Complexity}
    assert (COMPLEXITY_NAMES["simple"], COMPLEXITY_NAMES["complex"]) == (Complexity.LOW, Complexity.HIGH)
