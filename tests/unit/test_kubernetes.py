"""docker/kubernetes: names and labels agree, pods are restricted, settings are the service's."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kustomize import KUBERNETES, OPTIONS, OVERLAYS, Composition, Manifest
from t5gguf import recipe
from t5serve.http.endpoints import OPEN_ENDPOINTS
from t5serve.settings import Settings

SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
IDS = [path.name for path in OVERLAYS]
DRAIN_SECONDS = Settings.model_fields["drain_seconds"].default
TIMEOUT_SECONDS = Settings.model_fields["timeout_ms"].default / 1000


@pytest.fixture(params=OVERLAYS, ids=IDS)
def overlay(request: pytest.FixtureRequest) -> Composition:
    """An overlay by itself."""
    return Composition(request.param)


@pytest.fixture(params=OVERLAYS, ids=IDS)
def everything(request: pytest.FixtureRequest) -> Composition:
    """An overlay with all components."""
    return Composition(request.param, *OPTIONS)


def pod(composition: Composition) -> Manifest:
    template: Manifest = composition.find("Deployment")["spec"]["template"]
    return template


def containers(composition: Composition) -> list[Manifest]:
    """The containers of the pod; the service's own is the last one."""
    spec = pod(composition)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def settings(composition: Composition) -> dict[str, str]:
    data: dict[str, str] = composition.find("ConfigMap")["data"]
    return data


def test_selectors_match(everything: Composition) -> None:
    """Whatever selects pods selects those of the Deployment; the ServiceMonitor, the Service."""
    labels = pod(everything)["metadata"]["labels"].items()
    spec = pod(everything)["spec"]
    owners = [everything.find(kind) for kind in ("Deployment", "PodDisruptionBudget")]
    selectors = [everything.find("Service")["spec"]["selector"]]
    selectors += [owner["spec"]["selector"]["matchLabels"] for owner in owners]
    policies = everything.find_all("NetworkPolicy")
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in policies]
    spread = spec["topologySpreadConstraints"]
    selectors += [constraint["labelSelector"]["matchLabels"] for constraint in spread]
    assert len(selectors) >= 7
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    for monitor in everything.find_all("ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        assert selector.items() <= everything.find("Service")["metadata"]["labels"].items()


def test_ports_match(everything: Composition) -> None:
    """Whatever names a port names one of the Service, or of the container behind it."""
    (port,) = containers(everything)[-1]["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default
    (service_port,) = everything.find("Service")["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    for policy in everything.find_all("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            assert [one["port"] for one in rule["ports"]] == [port["name"]]
    for monitor in everything.find_all("ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] == service_port["name"]
    (rule,) = everything.find("Ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = {"name": "t5serve", "port": {"name": service_port["name"]}}
    assert path["backend"]["service"] == backend
    assert everything.find("Service")["metadata"]["name"] == "t5serve"
    assert [each["hosts"] for each in everything.find("Ingress")["spec"]["tls"]] == [[rule["host"]]]


def test_volumes_exist(everything: Composition) -> None:
    """Each mount has its volume, each volume its claim, each container its ConfigMap."""
    volumes = {volume["name"]: volume for volume in pod(everything)["spec"]["volumes"]}
    mounts = {mount["name"] for each in containers(everything) for mount in each["volumeMounts"]}
    assert mounts == volumes.keys()
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert ("PersistentVolumeClaim", claim) in everything.objects
    for each in containers(everything):
        (source,) = each["envFrom"]
        assert ("ConfigMap", source["configMapRef"]["name"]) in everything.objects


def test_one_scaler(overlay: Composition) -> None:
    """A Deployment has one scaler, which finds it, or a number of replicas, and never both."""
    scalers = [scaler for kind in SCALERS for scaler in overlay.find_all(kind)]
    deployment = overlay.find("Deployment")
    assert len(scalers) + ("replicas" in deployment["spec"]) == 1
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        assert target["name"] == deployment["metadata"]["name"]
        assert target.get("kind", "Deployment") == "Deployment"
        assert target.get("apiVersion", "apps/v1") == deployment["apiVersion"]


def test_both_scalers_agree() -> None:
    """KEDA's object scales as the HorizontalPodAutoscaler does."""
    hpa = Composition(KUBERNETES / "overlays/autoscaled-hpa").find("HorizontalPodAutoscaler")[
        "spec"
    ]
    keda = Composition(KUBERNETES / "overlays/autoscaled-keda").find("ScaledObject")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (
        keda["minReplicaCount"],
        keda["maxReplicaCount"],
    )
    assert hpa["behavior"] == keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    cpu, *pods = hpa["metrics"]
    cpu_trigger, *queries = keda["triggers"]
    assert str(cpu["resource"]["target"]["averageUtilization"]) == cpu_trigger["metadata"]["value"]
    targets = [metric["pods"]["target"]["averageValue"] for metric in pods]
    assert targets == [query["metadata"]["threshold"] for query in queries]


def test_adapter_gives_the_metrics() -> None:
    """The rules of the adapter have the names that the HorizontalPodAutoscaler asks for."""
    directory = KUBERNETES / "overlays/autoscaled-hpa"
    metrics = Composition(directory).find("HorizontalPodAutoscaler")["spec"]["metrics"]
    values = yaml.safe_load((directory / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    names = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]
    assert [rule["name"]["as"] for rule in values["rules"]["custom"]] == names
    assert names[0] == "t5serve_queue_depth"


def test_namespace_of_the_queries() -> None:
    """KEDA's queries are about the namespace that the objects are in."""
    composition = Composition(KUBERNETES / "overlays/autoscaled-keda")
    scaler = composition.find("ScaledObject")
    queries = [trigger["metadata"].get("query") for trigger in scaler["spec"]["triggers"]]
    assert queries[0] is None
    for query in queries[1:]:
        assert f'namespace="{scaler["metadata"]["namespace"]}"' in query


def test_pods_are_restricted(everything: Composition) -> None:
    """As the profile `restricted` of the Pod Security Standards asks, with a read-only root."""
    spec = pod(everything)["spec"]
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    dockerfile = (KUBERNETES.parent / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile
    assert spec["automountServiceAccountToken"] is False
    # The cluster's variables for the service would be taken for the setting of the same name.
    assert spec["enableServiceLinks"] is False
    for container in containers(everything):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_cpus_are_exclusive(everything: Composition) -> None:
    """The kubelet's static policy wants whole CPUs, and requests that equal limits everywhere."""
    for container in containers(everything):
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"].keys() == {"cpu", "memory"}
        assert resources["limits"]["cpu"].isdecimal()


def test_keys_are_required(everything: Composition) -> None:
    """No file has a key, and without the Secret of keys no pod starts."""
    assert not everything.find_all("Secret")
    (volume,) = [each for each in pod(everything)["spec"]["volumes"] if "secret" in each]
    secret = volume["secret"]
    assert "optional" not in secret
    assert secret["defaultMode"] == 0o440  # of root and the group fsGroup, which the user has
    assert pod(everything)["spec"]["securityContext"]["fsGroup"] == 10001
    mounts = {each["name"]: each for each in containers(everything)[-1]["volumeMounts"]}
    (item,) = secret["items"]
    path = Path(mounts[volume["name"]]["mountPath"], item["path"])
    assert str(path) == settings(everything)["T5SERVE_API_KEYS_FILE"]
    for monitor in everything.find_all("ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        credentials = endpoint["authorization"]["credentials"]
        assert credentials["name"] == secret["secretName"]
        assert credentials["key"] != item["key"]  # which has a key a line


def test_settings(everything: Composition) -> None:
    """Each variable with the service's prefix is a setting, and has a value that it takes."""
    given: dict[str, Any] = {
        name.removeprefix("T5SERVE_").lower(): value
        for name, value in settings(everything).items()
        if name.startswith("T5SERVE_")
    }
    assert given.keys() <= Settings.model_fields.keys()
    assert Settings(**given).api_keys_file == Path("/etc/t5serve/api-keys")


def test_fetched_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The init container runs the recipe's own command, into the volume that the service reads."""
    composition = Composition(KUBERNETES / "base", KUBERNETES / "components/fetched-model")
    fetch, serve = containers(composition)
    chosen = recipe.load(settings(composition)["T5SERVE_MODEL"])
    assert not chosen.source.included
    command = shlex.join(fetch["command"]).replace("'$(T5SERVE_MODEL)'", chosen.name)
    _, _, options = chosen.fetch_command().partition(chosen.name)
    assert command == f"flock /models/.fetch t5gguf fetch {chosen.name}{options} --quiet"
    monkeypatch.setenv("T5GGUF_MODELS", settings(composition)["T5GGUF_MODELS"])
    for container, is_read_only in ((fetch, False), (serve, True)):
        mount = {each["name"]: each for each in container["volumeMounts"]}["models"]
        assert recipe.models() == Path(mount["mountPath"])
        assert mount.get("readOnly", False) is is_read_only
    assert settings(Composition(KUBERNETES / "base"))["T5SERVE_MODEL"] == "tiny-t5"


def test_egress(overlay: Composition, everything: Composition) -> None:
    """The service reaches nothing, unless it fetches a model: then names and HTTPS."""

    def ports(composition: Composition) -> set[int]:
        policies = composition.find_all("NetworkPolicy")
        rules = [rule for each in policies for rule in each["spec"].get("egress", [])]
        return {port["port"] for rule in rules for port in rule["ports"]}

    assert any(
        "Egress" in each["spec"]["policyTypes"] for each in overlay.find_all("NetworkPolicy")
    )
    assert ports(overlay) == set()
    assert ports(everything) == {53, 443}


def test_probes(overlay: Composition) -> None:
    """Restarted when it is dead, asked when it is ready, by routes that need no key."""
    container = containers(overlay)[-1]
    probes = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness", "startup")
    }
    paths = {kind: probe["path"] for kind, probe in probes.items()}
    assert paths == {"liveness": "/healthz", "readiness": "/readyz", "startup": "/readyz"}
    assert {probe["port"] for probe in probes.values()} == {container["ports"][0]["name"]}
    for path in paths.values():
        assert any(endpoint.matches(path) for endpoint in OPEN_ENDPOINTS)


def test_updates_lose_no_request(overlay: Composition) -> None:
    """A new pod is ready before an old one ends, which has time to drain and to end its workers."""
    strategy = overlay.find("Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    _, pause = containers(overlay)[-1]["lifecycle"]["preStop"]["exec"]["command"]
    grace = pod(overlay)["spec"]["terminationGracePeriodSeconds"]
    assert grace >= DRAIN_SECONDS + 5 + int(pause)


def test_ingress_streams(everything: Composition) -> None:
    """No controller buffers events, or ends a request before its longest deadline."""
    annotations: dict[str, Any] = everything.find("Ingress")["metadata"]["annotations"]
    buffering = [value for name, value in annotations.items() if "buffering" in name]
    assert [value.lower() for value in buffering] == ["off", "false"]
    timeouts = [value for name, value in annotations.items() if "timeout" in name]
    assert len(timeouts) == 3
    for timeout in timeouts:
        assert int(timeout.removesuffix("s")) > TIMEOUT_SECONDS
    bodies = [value for name, value in annotations.items() if "body-size" in name]
    assert bodies == ["1m", "1m"]
    assert Settings.model_fields["max_body_bytes"].default <= 2**20
