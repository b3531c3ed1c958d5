"""What tests of several rooms share."""

import asyncio
import atexit
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

import pointsman
from pointsman.clock import SystemClock
from pointsman.settings import Source, load
from pointsman.sources.store import WeightStore

# A shared or busy machine is slow at times; that is no property of the code under test.
hypothesis.settings.register_profile(
    "house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("house")


def pytest_configure() -> None:
    """What gateways that the tests start keep of requests goes into nobody's books."""
    folder = Path(tempfile.mkdtemp(prefix="pointsman-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("POINTSMAN_LEDGER__URL", f"sqlite:{folder / 'ledger.sqlite'}")


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
