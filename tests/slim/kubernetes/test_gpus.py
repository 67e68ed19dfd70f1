"""Overlays with GPUs: nodes that have them, and a pool of model servers beside the one without."""

from modelyard.services.gateway.settings import GatewaySettings
from tests.support.kubernetes import find, render_overlay


def test_gpus_are_asked_for_where_they_are() -> None:
    """One for each, on nodes that have them, past the taint that keeps others away."""
    for name in ("trainer-gpu", "modelserver"):
        spec = find(render_overlay("gpu"), "Deployment", name)["spec"]["template"]["spec"]
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    plain = find(render_overlay("gpu"), "Deployment", "trainer")["spec"]["template"]["spec"]
    assert "nodeSelector" not in plain
    assert "nvidia.com/gpu" not in plain["containers"][0]["resources"]["limits"]


def test_a_pool_with_gpus_stands_beside_the_one_without() -> None:
    """Servers, service and budget of its own; by the same flags, but for the file of its models."""
    resources = render_overlay("pools")
    plain, gpu = (find(resources, "Deployment", name)["spec"] for name in ("modelserver", "modelserver-gpu"))
    for spec, name in ((plain, "modelserver"), (gpu, "modelserver-gpu")):
        chosen = {"app.kubernetes.io/name": name}
        assert spec["selector"]["matchLabels"] == chosen
        assert spec["template"]["metadata"]["labels"].items() >= chosen.items()
        assert find(resources, "Service", name)["spec"]["selector"] == chosen
        assert find(resources, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == chosen
        for each in spec["template"]["spec"]["topologySpreadConstraints"]:
            assert each["labelSelector"]["matchLabels"] == chosen
    one, other = (spec["template"]["spec"]["containers"][0] for spec in (plain, gpu))
    differing = [pair for pair in zip(one["args"], other["args"], strict=True) if pair[0] != pair[1]]
    assert differing == [("--model_config_file=/store/models.config", "--model_config_file=/store/models.gpu.config")]
    assert (one["image"], other["image"]) == ("tensorflow/serving:2.20.0", "tensorflow/serving:2.20.0-gpu")
    assert "nvidia.com/gpu" not in one["resources"]["limits"]
    assert other["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["template"]["spec"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}


def test_every_process_is_told_of_the_pool() -> None:
    """As the settings read it: gateway, trainer and scheduler place models alike, and the migration makes its file."""
    resources = render_overlay("pools")
    (data,) = (
        each["data"]
        for each in resources
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("settings-")
    )
    found = GatewaySettings(serving_pools=data["MODELYARD_SERVING_POOLS"], pool_memory=data["MODELYARD_POOL_MEMORY"])
    assert found.serving_pools == {"gpu": ("dns:modelserver-gpu:8500",)}
    assert set(found.pool_memory) == {"default", "gpu"}
