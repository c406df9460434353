"""What a person may choose when starting the whole platform."""

from enum import StrEnum


class SparkMode(StrEnum):
    """How Spark runs: one server, or an application on a master with two workers."""

    SERVER = "server"
    CLUSTER = "cluster"
