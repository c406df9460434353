"""Apache Flink on this machine: distribution, client, stream job, health."""
