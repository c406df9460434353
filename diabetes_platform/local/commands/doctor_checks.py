"""All checks of the doctor, in the order of the data, each with what to do where it fails."""

from diabetes_platform.local.api import health as api
from diabetes_platform.local.connect import health as connect
from diabetes_platform.local.dagster import health as dagster
from diabetes_platform.local.flink import health as flink
from diabetes_platform.local.health import Check
from diabetes_platform.local.install import health as installation
from diabetes_platform.local.kafka import health as kafka
from diabetes_platform.local.minio import health as minio
from diabetes_platform.local.postgres import health as postgres
from diabetes_platform.local.spark import health as spark
from diabetes_platform.settings import Port

_RESTART = "see `diabetes logs {}`; `make down` and `make up` set it up again"


def _again(service: str) -> str:
    return _RESTART.format(service)


CHECKS = (
    Check(
        "jars",
        "are whole",
        installation.jars_are_whole,
        "`make down` and `make up` fetch what is missing or damaged",
    ),
    Check("minio", "writes and reads", minio.write_and_read, _again("minio"), Port.MINIO),
    Check(
        "postgres",
        "inserts and rolls back",
        postgres.insert_and_roll_back,
        _again("postgres"),
        Port.POSTGRES,
    ),
    Check("kafka", "takes and gives", kafka.produce_and_consume, _again("kafka"), Port.KAFKA),
    Check(
        "topics",
        "are as set",
        kafka.topics_are_as_set,
        "`diabetes down` and `diabetes up` make them again and put their settings right",
        Port.KAFKA,
    ),
    Check(
        "connect",
        "connector runs",
        connect.connector_runs,
        "see `diabetes logs connect`; `make down` and `make up` register the connector again",
        Port.CONNECT,
    ),
    Check(
        "replication slot",
        "is read",
        postgres.replication_slot,
        "the connector reads it: see `diabetes logs connect`",
        Port.POSTGRES,
    ),
    Check(
        "spark-connect",
        "answers a query",
        spark.spark_query,
        _again("spark-connect"),
        Port.SPARK_CONNECT,
    ),
    Check(
        "flink",
        "runs a job",
        flink.flink_job,
        "without a free slot: cancel a job in Flink's UI; else see `diabetes logs "
        "flink-taskmanager` and `diabetes logs flink-jobmanager`",
        Port.FLINK,
    ),
    Check(
        "stream-job",
        "job runs",
        flink.stream_job_runs,
        "it is submitted again by itself: see `diabetes logs stream-job`",
        Port.FLINK,
    ),
    Check(
        "dagster",
        "code location, daemons",
        dagster.code_location,
        "see `diabetes logs dagster-code` and `diabetes logs dagster-daemon`",
        Port.DAGSTER,
    ),
    Check(
        "api",
        "has a model",
        api.ready,
        "without a model: `diabetes materialize` trains and releases one; else "
        "see `diabetes logs api`",
        Port.API,
    ),
    Check(
        "predictor",
        "ready to score",
        api.predictor_ready,
        "without a model: `diabetes materialize` trains and releases one; else "
        "see `diabetes logs predictor`",
        Port.PREDICTOR,
    ),
)
