"""What a configured model means to the fleet."""

from pathlib import Path

from pointsman.fleet.values import DeploymentSpec, Rules
from pointsman.settings import FleetSettings, parse

TEXT = """
models:
  - {id: small, backend: llama_cpp, source: {file: a.gguf}, slots: 2, preload: true, memory_gb: 0.5, pin: true}
  - {id: spoken, backend: stt, source: {file: whisper}, ttl_s: 600}
  - {id: far, backend: openai, urls: ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"], slots: 8}
"""


def test_every_model_has_its_deployment_and_an_instance_keeps_its_own_name() -> None:
    small, spoken, far = parse(TEXT, str(Path("x.yaml")), {}).models
    assert DeploymentSpec.of("small", small) == DeploymentSpec(
        id="small", model_id="small", slots=2, preload=True, pin=True, memory_bytes=500_000_000
    )
    assert DeploymentSpec.of("spoken", spoken) == DeploymentSpec(id="spoken", model_id="spoken", ttl_s=600)
    assert DeploymentSpec.of("far-1", far) == DeploymentSpec(
        id="far-1", model_id="far", slots=8, is_managed=False, instances=2
    )


def test_rules_follow_the_settings() -> None:
    rules = Rules.of(FleetSettings(max_queue=7, max_wait_s=3, restart_backoff_s=0.1, min_resident_s=1))
    assert (rules.max_queue, rules.max_wait_s, rules.backoff_s, rules.min_resident_s) == (7, 3, 0.1, 1)
    assert rules.probe_hold_s == 45
