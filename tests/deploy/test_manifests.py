"""The image, the compose file, the chart: parsed, and checked by their own tools where those are installed."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.edge.doorkeeper import Doorkeeper
from pointsman.errors import RequestError
from pointsman.settings import KeySettings, load, parse

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "pointsman"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?([\w.-]*)")
CONFIG = {
    "keys": [{"name": "caller", "sha256": "0" * 64}],
    "models": [{"id": "m", "backend": "openai", "url": "http://vllm:8000/v1"}],
}


def run(program: str, *arguments: str, cwd: Path = ROOT) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """A copy of deploy/ in which the secrets have been made."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    run("sh", str(tmp_path / "deploy" / "keys.sh"))
    return tmp_path / "deploy"


# ---------------------------------------------------------------- compose


def test_the_settings_of_the_compose_file_are_valid_once_keys_are_made(deployed: Path) -> None:
    secrets = deployed / "secrets"
    settings = load(secrets / "settings" / "pointsman.yaml", {})
    hashes = {key.name: key.sha256 for key in settings.keys}
    for name in ("caller", "prometheus"):
        key = (secrets / f"{name}.key").read_bytes()
        assert len(key) > 40
        assert hashes[name] == hashlib.sha256(key).hexdigest()
    assert "pointsman" in settings.server.allowed_hosts  # by which name Prometheus asks
    assert (secrets / "caller.key").stat().st_mode & 0o077 == 0
    variable, _, value = (secrets / "pointsman.env").read_text(encoding="utf-8").partition("=")
    assert variable == settings.server.admin_key_env
    assert len(value) > 40


def test_the_model_of_the_gpu_profile_is_ready_to_be_uncommented(deployed: Path) -> None:
    path = deployed / "secrets" / "settings" / "pointsman.yaml"
    text = re.sub(r"^  # (- id|  \w)", r"  \1", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    model = parse(text).models[-1]
    command = COMPOSE["services"]["vllm"]["command"]
    assert model.id == command[command.index("--served-model-name") + 1]


def test_keys_that_were_made_are_kept(deployed: Path) -> None:
    secrets = deployed / "secrets"
    before = {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()}
    run("sh", str(deployed / "keys.sh"))
    assert {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()} == before


def test_settings_that_an_editor_replaces_are_seen_inside_the_container(deployed: Path) -> None:
    """A mounted file would stay the one it was: the folder around it is mounted, and nothing secret lies in it."""
    volumes = [volume.split(":") for volume in COMPOSE["services"]["pointsman"]["volumes"]]
    (mounted,) = [(deployed / source, Path(target)) for source, target, *_ in volumes if source.startswith(".")]
    assert [path.name for path in mounted[0].iterdir()] == ["pointsman.yaml"]
    assert mounted[0].stat().st_mode & 0o055 == 0o055  # its user is another
    command = re.search(r"^CMD (\[.+\])$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert command
    assert Path(yaml.safe_load(command[1])[-1]) == mounted[1] / "pointsman.yaml"


def test_every_file_that_is_mounted_exists(deployed: Path) -> None:
    mounted = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    ]
    mounted += [secret["file"] for secret in COMPOSE["secrets"].values()]
    mounted += [entry["path"] for entry in COMPOSE["services"]["pointsman"]["env_file"]]
    assert len(mounted) >= 8
    assert not [name for name in mounted if not (deployed / name).exists()]


def test_services_are_pinned_bounded_and_not_open_to_the_network() -> None:
    for name, service in COMPOSE["services"].items():
        assert PINNED.fullmatch(service["image"]), service["image"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert "healthcheck" in service or name == "pointsman"  # whose image has its own
        assert "resources" in service["deploy"]
    settings = yaml.safe_load((DEPLOY / "compose" / "pointsman.yaml").read_text(encoding="utf-8"))["server"]
    grace_s = int(COMPOSE["services"]["pointsman"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > settings["drain_delay_s"] + settings["drain_timeout_s"]


def test_docker_compose_takes_it(deployed: Path) -> None:
    run("docker-compose", "-f", str(deployed / "compose.yaml"), "--profile", "gpu", "config", "-q")


def test_grafana_finds_prometheus_and_the_pages() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_bytes())["datasources"]
    assert source["url"].split("//")[1].split(":")[0] in COMPOSE["services"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/pointsman.yml").read_bytes())["providers"]
    mounts = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert ["./grafana/dashboards", provider["options"]["path"], "ro"] in mounts


# ---------------------------------------------------------------- the image


def test_the_image_is_made_of_what_exists_and_runs_as_nobody_in_particular() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for word in line.split()]
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    assert all((ROOT / name).exists() and f"!{name}" in kept for name in copied)
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert all(PINNED.match(image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE))


def test_hadolint_has_nothing_to_say() -> None:
    run("hadolint", str(DEPLOY / "Dockerfile"))


# ---------------------------------------------------------------- the chart


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def test_every_value_that_a_template_reads_is_declared() -> None:
    for path in (CHART / "templates").iterdir():
        for name in re.findall(r"\.Values\.([\w.]+)", path.read_text(encoding="utf-8")):
            here: Any = values()
            for part in name.split("."):
                assert part in here, f"{path.name}: .Values.{name}"
                here = here[part]


def test_the_charts_settings_are_valid_once_there_are_keys_and_models() -> None:
    settings = parse(yaml.safe_dump(values()["config"] | CONFIG))
    assert settings.server.host == "0.0.0.0"
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == COMPOSE["services"]["pointsman"]["image"].split(":")[1]


def test_the_chart_brings_the_rules_and_the_dashboards() -> None:
    assert (CHART / "files" / "rules.yml").resolve() == DEPLOY / "prometheus" / "rules.yml"
    assert (CHART / "files" / "dashboards").resolve() == DEPLOY / "grafana" / "dashboards"


def is_let_in(host: str, names: tuple[str, ...]) -> bool:
    def anybody(authorization: str, api_key: str) -> KeySettings | None:
        return None

    try:
        Doorkeeper(anybody, names).admit({"path": "/v1/models", "headers": [(b"host", host.encode())]})
    except RequestError:
        return False
    return True


def asked_by(release: str, namespace: str) -> list[str]:
    """The URL of the notes, as the release's name and port make it; the longer names; a forwarded port."""
    notes = (CHART / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    url = re.search(r"http://(\S.*)/v1$", notes, re.MULTILINE)
    assert url
    name, _, port = url[1].replace('{{ include "pointsman.name" . }}', release).rpartition(":")
    port = port.replace("{{ .Values.service.port }}", str(values()["service"]["port"]))
    ends = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    return [f"localhost:{port}", *(f"{name}{end}:{port}" for end in ends)]


def test_the_names_the_chart_gives_a_service_are_let_in() -> None:
    """Without Helm: the one line of the helper that makes names, filled in by hand."""
    helpers = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    line = re.search(r'define "pointsman.hosts" -}}\n(.+)\n', helpers)
    assert line
    names = ("localhost", *line[1].replace("{{ .name }}", "blue").replace("{{ .namespace }}", "ai").split())
    assert [host for host in asked_by("blue", "ai") if not is_let_in(host, names)] == []
    assert not is_let_in("blue.elsewhere:8001", names)
    config = (CHART / "templates" / "config.yaml").read_text(encoding="utf-8")
    assert 'include "pointsman.hosts"' in config
    assert '"localhost"' in config


@pytest.mark.parametrize("release", ["blue", "green", "pointsman"])
def test_callers_of_the_notes_url_are_let_in(release: str) -> None:
    """Also by a sibling's name, whose Service may have been turned to these pods."""
    (config,) = [one for one in rendered(release) if one["kind"] == "ConfigMap"]
    names = parse(config["data"]["pointsman.yaml"]).server.allowed_hosts
    for name in {release, "blue", "green"}:
        assert [host for host in asked_by(name, "ai") if not is_let_in(host, names)] == []
    assert not is_let_in("rebound.example:8001", names)


def rendered(release: str = "green", **changes: Any) -> list[dict[str, Any]]:
    helm = pytest.importorskip("helm_python.chart", reason="helm-python-sdk is not installed")
    with helm.Chart.load(str(CHART)) as chart:
        texts = chart.render(values={"config": CONFIG, **changes}, name=release, namespace="ai")
    documents = [one for name, text in texts.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text)]
    return [one for one in documents if one]


def test_helm_renders_it() -> None:
    everything: dict[str, Any] = {
        "autoscaling": {"enabled": True},
        "persistence": {"enabled": True},
        "metrics": {"serviceMonitor": True, "rules": True, "dashboards": True, "labels": {"release": "kps"}},
    }
    plain, full = rendered(), rendered(**everything, secret="keys", selectorRelease="blue")
    assert sorted(one["kind"] for one in plain) == ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]
    kinds = [one["kind"] for one in full]
    assert {"HorizontalPodAutoscaler", "PersistentVolumeClaim", "ServiceMonitor", "PrometheusRule"} <= set(kinds)
    by_kind = {one["kind"]: one for one in full}
    assert by_kind["PrometheusRule"]["spec"] == yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_bytes())
    assert by_kind["Service"]["spec"]["selector"]["app.kubernetes.io/instance"] == "blue"
    (deployment,) = [one for one in plain if one["kind"] == "Deployment"]
    pod, server = deployment["spec"]["template"]["spec"], values()["config"]["server"]
    assert pod["terminationGracePeriodSeconds"] > server["drain_delay_s"] + server["drain_timeout_s"]
    (config,) = [one for one in plain if one["kind"] == "ConfigMap"]
    assert parse(config["data"]["pointsman.yaml"]).server.admin_key_env == "FLEET_ADMIN_KEY"


def test_kubernetes_knows_every_field() -> None:
    library = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for one in rendered(autoscaling={"enabled": True}, persistence={"enabled": True}):
        library.validate(one, "1.31", strict=True)
