"""Every profile of the chart renders manifests that a cluster accepts and that are safe to run."""

import re
import subprocess
from pathlib import Path

import pytest

from diabetes_platform.local.commands.secrets import DOCTOR
from diabetes_platform.local.kafka import data as kafka_data
from diabetes_platform.local.services import process_environments
from diabetes_platform.local.stack import INFRA, Stack
from diabetes_platform.local.targets import SERVER_NAMES
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings
from diabetes_platform_tests.clusters.tools import kubernetes_schemas, tool
from diabetes_platform_tests.infra.kubernetes.rendered import (
    CHART,
    PROFILES,
    RELEASE,
    TAG,
    Manifest,
    by_kind,
    component,
    containers,
    helm,
    instance,
    pods,
    render,
    render_text,
    secret_names,
    selects,
)
from diabetes_platform_tests.infra.kubernetes.settings import setting_names

HOOKS = {"doctor", "storage-setup", "warehouse-setup", "topics-setup", "connector-setup"}
WITHOUT_READINESS = {"dagster-daemon", "spark-executor", *HOOKS}
"""Nobody connects to them."""

each_profile = pytest.mark.parametrize("profile", PROFILES)


def test_helm_finds_no_fault() -> None:
    result = helm("lint", "--strict", str(CHART), "--set", f"image.tag={TAG}")
    assert result.returncode == 0, result.stdout


def test_the_api_server_would_accept_the_manifests(tmp_path: Path) -> None:
    files = []
    for profile in PROFILES:
        files.append(tmp_path / f"{profile}.yaml")
        files[-1].write_text(render_text(profile), encoding="utf-8")
    schemas = f"{kubernetes_schemas()}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    # ServiceMonitor is not part of Kubernetes.
    options = ["-strict", "-skip", "ServiceMonitor", "-schema-location", schemas]
    result = subprocess.run(
        [str(tool("kubeconform")), *options, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout


@each_profile
def test_every_container_has_requests_and_limits(profile: str) -> None:
    templates = pods(render(profile))
    # Spark computes those of its executors from its own options.
    templates.pop("spark-executor", None)
    for name, template in templates.items():
        for container in containers(template):
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][kind].keys(), name


@each_profile
def test_every_server_has_probes(profile: str) -> None:
    for name, template in pods(render(profile)).items():
        for container in template["spec"]["containers"]:
            assert ("livenessProbe" in container) == (name not in HOOKS | {"spark-executor"}), name
            assert ("readinessProbe" in container) == (name not in WITHOUT_READINESS), name


@each_profile
def test_every_pod_is_restricted(profile: str) -> None:
    launcher = instance(render(profile))["run_launcher"]["config"]["run_k8s_config"]
    run = {
        "spec": {
            **launcher["pod_spec_config"],
            "containers": [launcher["container_config"]],
        }
    }
    for name, template in {**pods(render(profile)), "run": run}.items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        # A Service named like a variable would replace it.
        assert spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not any("hostPath" in volume for volume in spec["volumes"]), name
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@each_profile
def test_only_callers_of_the_api_server_have_a_token(profile: str) -> None:
    templates = pods(render(profile))
    with_token = {n for n, t in templates.items() if t["spec"]["automountServiceAccountToken"]}
    assert with_token <= {
        "dagster-daemon",
        "dagster-webserver",
        "flink-jobmanager",
        "flink-taskmanager",
        "spark-connect",
    }
    roles = by_kind(render(profile), "RoleBinding")
    accounts = {t["spec"]["serviceAccountName"] for n, t in templates.items() if n in with_token}
    assert accounts == roles.keys()
    launcher = instance(render(profile))["run_launcher"]["config"]
    assert launcher["service_account_name"] not in roles
    assert launcher["run_k8s_config"]["pod_spec_config"]["automountServiceAccountToken"] is False


@each_profile
def test_images_have_the_version_of_the_release(profile: str) -> None:
    images = [
        c["image"] for t in pods(render(profile)).values() for c in containers(t) if "image" in c
    ]
    assert images
    for image in images:
        assert re.fullmatch(rf"(registry\.example/)?diabetes-platform/[a-z]+:{TAG}", image), image


@each_profile
def test_every_secret_is_one_that_the_platform_writes(profile: str) -> None:
    written = process_environments(Stack(PlatformSettings()))
    names = {f"{RELEASE}-{process}" for process, variables in written.items() if variables}
    names.add(f"{RELEASE}-{DOCTOR}")
    read = set[str]().union(*map(secret_names, pods(render(profile)).values()))
    if profile == "full":
        read = {name.replace("clinic-api", f"{RELEASE}-api") for name in read}
    assert read <= names
    # `stream-job` is Flink's application mode here, and topics need no password.
    unused = {f"{RELEASE}-{process}" for process in ("stream-job", "topics-setup")}
    assert profile != "default" or names - read == unused


@each_profile
def test_every_variable_has_a_reader(profile: str) -> None:
    known = _variables()
    for name, template in pods(render(profile)).items():
        for container in containers(template):
            for variable in container.get("env", []):
                assert variable["name"] in known, f"{name}: {variable['name']}"


def _variables() -> set[str]:
    """Return the variables that settings, configuration files and commands read."""
    files = [
        file
        for folder in ("processes", "connect", "kafka", "spark", "images")
        for file in (INFRA / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    ]
    files += [
        Path(kafka_data.__file__),
        PROJECT_ROOT / "workspace.yaml",
        *(INFRA / "debezium").iterdir(),
    ]
    texts = [file.read_text(encoding="utf-8") for file in files]
    names = {
        name for text in texts for name in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text)
    }
    # Read by boto3, by Dagster, and in the arguments of the container itself.
    return (
        names
        | setting_names()
        | {"AWS_DEFAULT_REGION", "AWS_ALLOW_HTTP"}
        | {"DAGSTER_CURRENT_IMAGE", "POD_NAME", "POD_IP"}
    )


@each_profile
def test_services_budgets_and_scalers_find_their_pods(profile: str) -> None:
    manifests = render(profile)
    templates = pods(manifests)
    for service in by_kind(manifests, "Service").values():
        (template,) = (t for t in templates.values() if selects(service["spec"]["selector"], t))
        names = {p["name"] for c in template["spec"]["containers"] for p in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for budget in by_kind(manifests, "PodDisruptionBudget").values():
        labels = budget["spec"]["selector"]["matchLabels"]
        assert any(selects(labels, template) for template in templates.values())
    for scaler in by_kind(manifests, "HorizontalPodAutoscaler").values():
        deployment = by_kind(manifests, "Deployment")[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in deployment["spec"]


def test_servers_have_the_addresses_that_the_secrets_name() -> None:
    services = by_kind(render(), "Service")
    for port, name in SERVER_NAMES.items():
        ports = [entry["port"] for entry in services[f"{RELEASE}-{name}"]["spec"]["ports"]]
        assert port.value in ports


@each_profile
def test_network_policies_cover_every_pod(profile: str) -> None:
    manifests = render(profile)
    policies = by_kind(manifests, "NetworkPolicy")
    everything = policies.pop(f"{RELEASE}-default-deny")["spec"]
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & everything.keys()
    run = {"metadata": {"labels": instance(manifests)["run_launcher"]["config"]["labels"]}}
    for name, template in {**pods(manifests), "run": run}.items():
        assert selects(everything["podSelector"]["matchLabels"], template), name
        matching = [
            policy
            for policy in policies.values()
            if selects(policy["spec"]["podSelector"]["matchLabels"], template)
        ]
        assert len(matching) == 1, name


def test_an_edge_is_allowed_on_both_sides() -> None:
    policies = by_kind(render(), "NetworkPolicy")
    edges = {
        (
            component(policy),
            rule["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"],
        )
        for policy in policies.values()
        for rule in policy["spec"].get("egress", [])
        if rule.get("to", [{}])[0].keys() == {"podSelector"}
    }
    accepted = {
        (source, component(policy))
        for policy in policies.values()
        for rule in policy["spec"].get("ingress") or []
        for source in rule["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    }
    assert edges == accepted
    assert ("api", "postgres") in edges
    assert ("api", "kafka") not in edges


def test_two_releases_share_no_name() -> None:
    first, second = (
        {(m["kind"], m["metadata"]["name"]) for m in render("full", name)} for name in ("a", "b")
    )
    assert not first & second


@each_profile
def test_names_fit_into_labels(profile: str) -> None:
    release = "a-release-with-a-rather-long-name"
    for manifest in render(profile, release):
        assert len(manifest["metadata"]["name"]) <= 63


def test_refuses_a_release_name_that_makes_names_too_long() -> None:
    result = helm("template", "a" * 41, str(CHART), "--set", f"image.tag={TAG}")
    assert result.returncode != 0
    assert "has 41 characters; allowed: 40" in result.stderr


@each_profile
def test_set_ups_are_hooks_that_run_again(profile: str) -> None:
    jobs = by_kind(render(profile), "Job")
    assert jobs.keys() <= {f"{RELEASE}-{name}" for name in HOOKS}
    for job in jobs.values():
        hooks = job["metadata"]["annotations"]["helm.sh/hook"].split(",")
        assert "post-install" in hooks
        assert {"pre-upgrade", "post-upgrade"} & set(hooks)


def test_external_stores_are_not_installed() -> None:
    manifests = render("external")
    assert not by_kind(manifests, "StatefulSet")
    text = render_text("external")
    for name in ("postgres", "kafka", "minio"):
        assert f"{RELEASE}-{name}:" not in text
    policies = by_kind(manifests, "NetworkPolicy")
    ports = {
        port["port"]
        for rule in policies[f"{RELEASE}-predictor"]["spec"]["egress"]
        if rule.get("to", [{}])[0].get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
        for port in rule["ports"]
    }
    assert ports == {5432, 9092, 443}


def test_the_stream_can_be_left_out() -> None:
    names = pods(render("batch")).keys()
    assert not {"kafka", "connect", "predictor", "flink-jobmanager", "topics-setup"} & names
    assert "PLATFORM_KAFKA_SERVERS" not in render_text("batch")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("api.replica=3", "additional properties 'replica' not allowed"),
        ("apis.replicas=3", "additional properties 'apis' not allowed"),
        ("settings.PLATFORM_SURCE=x", "additional properties 'PLATFORM_SURCE' not allowed"),
        ("settings.PLATFORM_ALERT_URLS=mailto:x", "'PLATFORM_ALERT_URLS' not allowed"),
        ("kafka.replicas=2", "/kafka/replicas"),
        ("postgres.external=db.example", "/postgres/external"),
        ("image.tag=latest", "/image/tag"),
        ("image.tag=", "/image/tag"),
        ("spread=Never", "/spread"),
        (
            "storage.external=https://s3.example,storage.lake=s3://clinic-lake",
            "storage.dataDocs is s3://data-docs, but the other buckets",
        ),
    ],
)
def test_refuses_a_wrong_value_with_its_key(option: str, message: str) -> None:
    tag = ["--set", f"image.tag={TAG}"]
    result = helm("template", RELEASE, str(CHART), *tag, "--set", option)
    assert result.returncode != 0
    assert message in result.stderr


def manifest_of(kind: str, name: str) -> Manifest:
    return by_kind(render(), kind)[f"{RELEASE}-{name}"]


def test_kafka_nodes_know_each_other() -> None:
    (container,) = manifest_of("StatefulSet", "kafka")["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    host = "clinic-kafka-{}.clinic-kafka-nodes.data.svc.cluster.local"
    assert env["KAFKA_VOTERS"] == ",".join(f"{n}@{host.format(n)}:9093" for n in range(3))
    assert (env["KAFKA_REPLICAS"], env["KAFKA_MIN_ISR"]) == ("3", "2")
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", env["KAFKA_CLUSTER_ID"] or "")
