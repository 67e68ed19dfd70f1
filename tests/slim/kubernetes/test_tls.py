"""The components that turn TLS on, with either model server."""

import os
import re
from collections.abc import Mapping

import kubernetes_validate
import pytest
import yaml

from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.modelserver.settings import parse_flags
from tests.slim.kubernetes.test_overlays import require_restricted
from tests.support.kubernetes import FOLDER, WORKLOADS, Resource, find, list_containers, list_pods, render

CASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "local": ("local", ("tls-cert-manager", "tls")),
    "local, ours": ("local", ("own-modelserver", "tls-cert-manager", "tls", "own-modelserver-tls")),
}
CLIENTS = {"gateway", "operator", "scheduler", "trainer", "migrate"}
SERVERS = {"redis", "postgres", "modelserver"}
SHARED = {"operator": "gateway"}
FILES = {"CA": "/certificates/ca.crt", "CERTIFICATE": "/certificates/tls.crt", "KEY": "/certificates/tls.key"}


@pytest.fixture(scope="module", params=CASES)
def resources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Resource, ...]:
    """As docs/deploy.md has it."""
    folder = tmp_path_factory.mktemp("tls")
    overlay, components = CASES[request.param]
    places = (f"overlays/{overlay}", *(f"components/{name}" for name in components))
    base, *added = (os.path.relpath(FOLDER / name, folder) for name in places)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [base], "components": added}))
    return render(folder)


def read_settings(resources: tuple[Resource, ...], container: Resource) -> dict[str, str]:
    """Variables of a container."""
    configs = {each["metadata"]["name"]: each["data"] for each in resources if each["kind"] == "ConfigMap"}
    names = [each["configMapRef"]["name"] for each in container.get("envFrom", ()) if "configMapRef" in each]
    found = {name: value for config in names for name, value in configs[config].items()}
    return found | {each["name"]: each.get("value", "") for each in container.get("env", ())}


def test_each_resource_is_as_kubernetes_defines_it(resources: tuple[Resource, ...]) -> None:
    """And pods keep to the restricted profile."""
    for each in resources:
        if each["kind"] in WORKLOADS:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    for _, pod in list_pods(resources):
        require_restricted(pod)


def test_each_process_has_a_certificate_of_its_own(resources: tuple[Resource, ...]) -> None:
    """Of a secret that cert-manager makes and no other process has, in files that its user alone reads."""
    made = {each["spec"]["secretName"] for each in resources if each["kind"] == "Certificate"}
    for name, pod in list_pods(resources):
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        secret = volumes["certificates"]["secret"]
        assert secret == {"secretName": f"{SHARED.get(name, name)}-tls", "defaultMode": 0o440}
        assert secret["secretName"] in made
        (mount,) = (each for each in list_containers(pod)[-1]["volumeMounts"] if each["name"] == "certificates")
        assert mount == {"name": "certificates", "mountPath": "/certificates", "readOnly": True}


def test_clients_speak_tls_to_all(resources: tuple[Resource, ...]) -> None:
    """With their files, and without leave to do without."""
    for name, pod in list_pods(resources):
        if name not in CLIENTS:
            continue
        found = read_settings(resources, pod["spec"]["containers"][0])
        assert {key: found[f"MODELYARD_TLS_{key}"] for key in FILES} == FILES
        assert found["MODELYARD_BROKER_URL"] == "rediss://redis:6379/0"
        assert found["MODELYARD_ALLOW_PLAIN"] == ""
        assert name == "migrate" or found["MODELYARD_SERVING_TLS"] == "true"
        known = {f"MODELYARD_{field.upper()}" for field in GatewaySettings.model_fields}
        assert {key for key in found if "TLS" in key} <= known


def test_servers_are_called_by_names_in_their_certificates(resources: tuple[Resource, ...]) -> None:
    """Those that clients' settings have."""
    names = {
        each["metadata"]["name"]: each["spec"].get("dnsNames", ())
        for each in resources
        if each["kind"] == "Certificate"
    }
    for server in SERVERS:
        assert server in names[server]
    url = next(
        (
            found["MODELYARD_LEDGER_URL"]
            for _, pod in list_pods(resources)
            if "MODELYARD_LEDGER_URL" in (found := read_settings(resources, pod["spec"]["containers"][0]))
        ),
        "@postgres:",
    )
    assert "@postgres:" in url


def test_servers_speak_nothing_else(resources: tuple[Resource, ...]) -> None:
    """Redis and PostgreSQL by their files; the model server by flags that it has."""
    kinds = {each["metadata"]["name"] for each in resources if each["kind"] == "StatefulSet"}
    redis = find(resources, "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"][0]
    assert "--tls" in redis["livenessProbe"]["exec"]["command"]
    assert redis["livenessProbe"]["periodSeconds"] == 10
    if "postgres" in kinds:
        (postgres,) = find(resources, "StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"]
        assert {"ssl=on", "hba_file=/etc/modelyard/pg_hba.conf"} <= set(postgres["args"])
        (access,) = (each["data"] for each in resources if each["metadata"]["name"].startswith("ledger-access-"))
        rules = [line.split() for line in access["pg_hba.conf"].splitlines() if line and not line.startswith("#")]
        assert [rule[:1] + rule[3:] for rule in rules if rule[0] != "local"] == [
            ["host", "127.0.0.1/32", "scram-sha-256"],
            ["hostssl", "all", "scram-sha-256", "clientcert=verify-ca"],
        ]
    server = find(resources, "Deployment", "modelserver")["spec"]["template"]["spec"]["containers"][0]
    if server["command"][0] == "python":
        settings = parse_flags(server["args"])
        assert str(settings.tls_client_ca_file) == FILES["CA"]
        assert server["readinessProbe"]["grpc"] == {"port": settings.health_port}
    else:
        assert server["command"] == ["sh", "/etc/modelyard/start-tls", "tensorflow_model_server"]
        assert server["readinessProbe"]["tcpSocket"] == {"port": 8501}
        (config,) = (each["data"] for each in resources if re.fullmatch("modelserver-.{10}", each["metadata"]["name"]))
        assert "start-tls" in config
