"""The modes of Spark that `diabetes up` offers."""

from enum import StrEnum


class SparkMode(StrEnum):
    """How Spark runs: one server, or an application on a master with two workers."""

    SERVER = "server"
    CLUSTER = "cluster"
