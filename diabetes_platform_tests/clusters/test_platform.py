"""The platform on a Kubernetes cluster: batch, stream, lost pods, rollouts, upgrade, removal.

The tests share one release and run in this order.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.cleaning.spark_jobs import clean_batch, fit_statistics
from diabetes_platform.contract.tables import CLEANED_PATIENTS, RAW_PATIENTS
from diabetes_platform.errors import PlatformError
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform.local.api.client import example_patient, predict
from diabetes_platform.local.dagster.client import LaunchRequest
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import Port
from diabetes_platform_tests.clusters.cluster import own_cluster
from diabetes_platform_tests.clusters.engine import own_engine
from diabetes_platform_tests.clusters.images import IMAGES, build_images
from diabetes_platform_tests.clusters.release import Release, own_release
from diabetes_platform_tests.clusters.remote import (
    read_page,
    run_state,
    send_patient,
    wait_for_prediction,
)
from diabetes_platform_tests.clusters.tools import node_directory
from diabetes_platform_tests.ledger import CREATE, Balance, Writer, assert_scored, final_balance

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3600)]

logger = logging.getLogger(__name__)

VALUES = ("kafka.replicas=3", "kafka.minInSyncReplicas=2", "dagster.startTimeoutSeconds=120")
REPLICAS = (*VALUES, "api.replicas=2", "predictor.replicas=2")
DELETED = (
    "api",
    "predictor",
    "flink-jobmanager",
    "flink-taskmanager",
    "kafka",
    "connect",
    "postgres",
)
ANSWER_SECONDS = 180.0
BALANCED_SECONDS = 300.0
CHANGES = 2_000


@dataclass(frozen=True)
class Versions:
    """The version that is installed, and a later one with the same content."""

    first: str
    second: str


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Release, Versions]]:
    """An installed release, with two versions of the images in the cluster."""
    with own_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        with own_engine(node_directory("engine")) as engine:
            first = build_images(engine)
            cluster.load_from(engine, *(f"{name}:{first}" for name in IMAGES))
        second = f"{first}-later"
        for name in IMAGES:
            cluster.tag(f"{name}:{first}", f"{name}:{second}")
        with own_release(cluster, tmp_path_factory.mktemp("home")) as release:
            release.install(first, *VALUES)
            yield release, Versions(first, second)


@pytest.fixture
def clinic(release: tuple[Release, Versions]) -> Release:
    return release[0]


@pytest.fixture
def versions(release: tuple[Release, Versions]) -> Versions:
    return release[1]


def patient_rows(cleaned: DeltaPath) -> pa.Table:
    """Return the rows of the cleaned table, without the name of the batch."""
    rows = cleaned.open().to_pyarrow_table().drop_columns(["batch_id", "record_id"])
    return rows.sort_by([("source", "ascending"), ("source_line", "ascending")])


def test_a_batch_runs_as_a_pod_with_spark_executors_as_pods(clinic: Release) -> None:
    run = clinic.launch("batch")
    assert clinic.run_status(run) == "SUCCESS"
    (pod,) = clinic.run_pods(run)
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "2", "memory": "1536Mi"}
    events = clinic.kubectl("get", "events", "--field-selector=reason=Started", "--output=name")
    assert "spark-connect-" in events
    assert "-exec-" in events
    # The API polls the model store.
    clinic.wait_ready("api")
    assert_data_docs(clinic, run)


def assert_data_docs(release: Release, run: str) -> None:
    """Require the page of the run's validation, which the pod of the run has written."""
    page = read_page(release.url("api", Port.API), f"/data-docs/validations/{run}.html")
    assert "Great Expectations" in page


def test_the_cleaned_rows_equal_those_of_sail(clinic: Release, tmp_path: Path) -> None:
    lake = clinic.lake
    raw = lake.table(RAW_PATIENTS).open().to_pyarrow_table()
    copy = DeltaPath(str(tmp_path / "raw"))
    write_deltalake(copy.path, raw, partition_by=["content_hash"])
    (content_hash,) = set(raw["content_hash"].to_pylist())
    statistics, cleaned = DeltaPath(str(tmp_path / "fit")), DeltaPath(str(tmp_path / "cleaned"))
    with spark_session() as sail:
        fit_statistics(sail, copy, content_hash, statistics)
        clean_batch(sail, copy, content_hash, statistics, cleaned)
    expected = patient_rows(cleaned)
    assert expected.num_rows == raw.num_rows
    assert patient_rows(lake.table(CLEANED_PATIENTS)).equals(expected)


def test_a_patient_of_the_page_is_answered(clinic: Release) -> None:
    assert predict_new_patient(clinic) == pytest.approx(probability(clinic))


def predict_new_patient(release: Release) -> float:
    """Store a patient through the API, wait for the stream's prediction, and return it."""
    api = release.url("api", Port.API)
    patient = send_patient(api)
    stored = wait_for_prediction(api, patient, ANSWER_SECONDS, retry_on=(httpx.HTTPError,))
    score: float = stored["probability"]
    return score


def probability(release: Release) -> float:
    """Return the API's probability for the patient that the stream scores."""
    score: float = predict(release.url("api", Port.API), example_patient())["probability"]
    return score


def test_the_doctor_finds_no_problem(clinic: Release) -> None:
    report = clinic.helm("test", "--timeout=5m", "--logs")
    assert "serves model" in report
    # The JobManager collects the counts from the TaskManagers.
    assert " 0 received" not in report


def test_predictions_match_the_ledger_while_pods_are_deleted(clinic: Release) -> None:
    with psycopg.connect(clinic.warehouse) as connection:
        connection.execute(CREATE)
    writer, deleted = Writer(clinic.warehouse, 20.0, random.Random(4)), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(writer.write, CHANGES, deleted)
        try:
            for component in random.Random(5).sample(DELETED, len(DELETED)):
                started = time.monotonic()
                clinic.replace_pod(component)
                seconds = time.monotonic() - started
                logger.info("%s: ready after %.1f s, at %s", component, seconds, writer.written)
        finally:
            deleted.set()
        writing.result()
    assert final_balance(clinic.warehouse, BALANCED_SECONDS) == Balance(0, 0)
    assert_scored(clinic.warehouse, clinic.url("api", Port.API))


@dataclass
class Load:
    """Counts requests to the API, each on a connection of its own, and their failures."""

    url: str
    answered: int = 0
    failures: list[str] = field(default_factory=list)

    def send_until(self, done: threading.Event) -> None:
        while not done.wait(0.1):
            try:
                response = httpx.post(
                    f"{self.url}/predict", json=example_patient(), timeout=30, trust_env=False
                )
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
                if not response.is_success:
                    self.failures.append(f"{response.status_code}: {response.text}")


@contextmanager
def load(release: Release) -> Iterator[Load]:
    """Send requests to the API during the block."""
    requests, done = Load(release.url("api", Port.API)), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(requests.send_until, done)
        try:
            yield requests
        finally:
            done.set()
        sending.result()


def test_a_rollout_under_load_fails_no_request_and_loses_no_answer(
    clinic: Release, versions: Versions
) -> None:
    writer, done = Writer(clinic.warehouse, 10.0, random.Random(6)), threading.Event()
    with load(clinic) as requests, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(writer.write, 1, done)
        try:
            clinic.install(versions.second, *REPLICAS, command="upgrade")
            for component in ("api", "predictor"):
                clinic.wait_ready(component, 2)
        finally:
            done.set()
        writing.result()
    images = {pod["spec"]["containers"][0]["image"] for pod in clinic.pods("api")}
    assert images == {f"diabetes-platform/serving:{versions.second}"}
    assert requests.failures == []
    assert requests.answered > 100
    assert final_balance(clinic.warehouse, BALANCED_SECONDS) == Balance(0, 0)


def test_predictors_share_a_burst_after_they_were_scaled(
    clinic: Release, versions: Versions
) -> None:
    for replicas in (3, 1):
        clinic.install(
            versions.second, *REPLICAS, f"predictor.replicas={replicas}", command="upgrade"
        )
        # A predictor is ready only with a partition.
        clinic.wait_ready("predictor", replicas)
        earlier = predictions(clinic)
        Writer(clinic.warehouse, 1_000.0, random.Random(replicas)).write(1_000, finished())
        assert final_balance(clinic.warehouse, BALANCED_SECONDS) == Balance(0, 0)
        assert all(count > earlier[pod] for pod, count in predictions(clinic).items())


def predictions(release: Release) -> dict[str, float]:
    """Return the number of predictions that each pod has stored."""
    name = "diabetes_predictor_predictions_total"
    pods = release.ready_pods("predictor")
    return {pod: release.metric(pod, Port.PREDICTOR, name) for pod in pods}


def finished() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_a_drain_waits_for_the_budget_of_the_api(clinic: Release) -> None:
    selector = "app.kubernetes.io/component=api"
    drain = ("drain", "node-1", f"--pod-selector={selector}", "--ignore-daemonsets")
    try:
        with load(clinic) as requests:
            # The node is the only one: nothing replaces the first pod, so the second must stay.
            with pytest.raises(PlatformError, match=r"timeout|disruption budget"):
                clinic.kubectl(*drain, "--delete-emptydir-data", "--timeout=30s")
            assert len(clinic.ready_pods("api")) == 1
    finally:
        clinic.kubectl("uncordon", "node-1")
    clinic.wait_ready("api", 2)
    assert requests.failures == []


def test_a_failed_upgrade_changes_no_pod_and_is_rolled_back(
    clinic: Release, versions: Versions
) -> None:
    pods = set(clinic.ready_pods("api"))
    with pytest.raises(PlatformError, match=r"hooks failed|deadline exceeded"):
        clinic.install("missing", *REPLICAS, command="upgrade", timeout="40s")
    assert set(clinic.ready_pods("api")) == pods
    assert "STATUS: failed" in clinic.helm("status")
    clinic.helm("rollback", "--timeout=10m")
    assert "STATUS: deployed" in clinic.helm("status")
    images = {pod["spec"]["containers"][0]["image"] for pod in clinic.pods("api")}
    assert images == {f"diabetes-platform/serving:{versions.second}"}
    predict_new_patient(clinic)


def start_batch(release: Release) -> str:
    """Launch a batch, wait for its first step, and return its id."""
    run = release.launch("batch")
    wait_until(lambda: "STEP_START" in release.events(run), timeout=180, interval=1)
    return run


def assert_repeated(release: Release, run: str) -> None:
    """Require that a failed run is repeated once, with success."""
    retry = wait_until(lambda: release.retry_of(run), timeout=120, interval=2)
    assert release.run_status(retry) == "SUCCESS"


def test_a_cancelled_run_leaves_no_pod(clinic: Release) -> None:
    run = start_batch(clinic)
    clinic.dagster.terminate(run)
    assert clinic.run_status(run) == "CANCELED"
    wait_until(lambda: not clinic.run_pods(run), timeout=60, interval=1)


def test_a_missing_secret_is_named_by_the_waiting_pod(clinic: Release) -> None:
    clinic.kubectl("delete", "secret", "clinic-api")
    try:
        clinic.kubectl("rollout", "restart", "deployment/clinic-api")
        message = wait_until(lambda: waiting(clinic, "api"), timeout=60, interval=1)
        assert message == {'CreateContainerConfigError: secret "clinic-api" not found'}
        # The pods of the earlier version go on.
        assert len(clinic.ready_pods("api")) == 2
    finally:
        clinic.create_namespace()
    clinic.kubectl("rollout", "status", "deployment/clinic-api", "--timeout=5m")


def waiting(release: Release, component: str) -> set[str]:
    """Return the reasons for which containers of a component wait."""
    states = [
        status["state"]["waiting"]
        for pod in release.pods(component)
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in pod["status"].get(kind, [])
        if "waiting" in status["state"]
    ]
    return {f"{state['reason']}: {state['message']}" for state in states if "message" in state}


def test_a_run_is_repeated_after_its_pod_was_killed(clinic: Release) -> None:
    run = start_batch(clinic)
    (pod,) = clinic.run_pods(run)
    clinic.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    assert clinic.run_status(run) == "FAILURE"
    assert_repeated(clinic, run)


def test_a_run_that_was_killed_for_memory_says_so_and_is_repeated(clinic: Release) -> None:
    run = start_batch(clinic)
    (pod,) = clinic.run_pods(run)
    # The kernel ends the largest process: the run, because each of these takes less memory.
    take = """for number in $(seq 12); do
        python3 -c 'import time; memory = b"x" * (120 << 20); time.sleep(60)' &
    done; wait"""
    with pytest.raises(PlatformError):
        clinic.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", take)
    assert clinic.run_status(run) == "FAILURE"
    assert "OOMKilled" in clinic.events(run)
    assert_repeated(clinic, run)


def test_a_run_beyond_the_quota_fails_with_the_reason(clinic: Release) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "1"}},
    }
    clinic.apply(quota)
    try:
        run = clinic.launch("batch")
        assert clinic.run_status(run) == "FAILURE"
        assert "exceeded quota: few" in clinic.events(run)
    finally:
        clinic.kubectl("delete", "resourcequota", "few")
    assert_repeated(clinic, run)


def test_runs_wait_while_the_api_server_is_away(clinic: Release) -> None:
    # kubectl, which finds their addresses, does not answer in the block.
    api, dagster = clinic.url("api", Port.API), clinic.dagster
    with clinic.cluster.stopped("kube-apiserver"):
        run = dagster.launch(LaunchRequest("batch"))
        time.sleep(60)
        predict(api, example_patient())
        assert run_state(dagster, run) not in {"FAILURE", "SUCCESS"}
    assert clinic.run_status(run) == "SUCCESS"
    predict_new_patient(clinic)


def test_a_second_release_works_beside_the_first_one(clinic: Release, versions: Versions) -> None:
    with own_release(clinic.cluster, clinic.settings.home, "other", clinic.namespace) as other:
        other.install(versions.first, profiles=("small", "batch"))
        other.wait_ready("dagster-webserver")
        assert len(clinic.ready_pods("api")) == 2
        predict_new_patient(clinic)
        other.helm("uninstall", "--wait", "--timeout=5m")


def test_a_volume_that_is_not_bound_is_visible(clinic: Release, versions: Versions) -> None:
    with own_release(clinic.cluster, clinic.settings.home, "unbound", "unbound") as other:
        with pytest.raises(PlatformError, match=r"hooks failed|deadline exceeded"):
            other.install(
                versions.first, "storageClass=none", profiles=("small", "batch"), timeout="20s"
            )
        claim = other.kubectl("describe", "pvc", "data-unbound-postgres-0")
        assert 'storageclass.storage.k8s.io "none" not found' in claim
        other.helm("uninstall", "--timeout=5m")


def test_an_uninstalled_release_leaves_its_volumes(clinic: Release) -> None:
    selector = "--selector=app.kubernetes.io/instance=clinic"
    claims = clinic.kubectl("get", "pvc", selector, "--output=name")
    assert len(claims.splitlines()) == len(("minio", "postgres", "kafka", "kafka", "kafka"))
    clinic.helm("uninstall", "--wait", "--timeout=5m")
    assert clinic.kubectl("get", "pvc", selector, "--output=name") == claims
    kinds = "deployments,statefulsets,services"
    remaining = clinic.kubectl("get", kinds, selector, "--output=name")
    assert remaining == ""


def test_stores_outside_the_release_are_used(
    clinic: Release, versions: Versions, tmp_path: Path
) -> None:
    # The same home and name: the stores have the passwords of the release.
    with own_release(clinic.cluster, tmp_path, "ext", "stores") as stores:
        stores.apply_stores(versions.first)
    addresses = {
        "postgres_server": "ext-postgres.stores:5433",
        "kafka_servers": "ext-kafka.stores:9092",
        "s3_endpoint": "http://ext-minio.stores:9000",
    }
    with own_release(clinic.cluster, tmp_path, "ext", "external", **addresses) as release:
        release.install(
            versions.first,
            f"postgres.external={addresses['postgres_server']}",
            f"kafka.external={addresses['kafka_servers']}",
            f"storage.external={addresses['s3_endpoint']}",
        )
        assert not release.kubectl("get", "statefulsets", "--output=name")
        run = release.launch("batch")
        assert release.run_status(run) == "SUCCESS"
        release.wait_ready("api")
        assert_data_docs(release, run)
        assert predict_new_patient(release) == pytest.approx(probability(release))
        release.helm("test", "--timeout=5m")
