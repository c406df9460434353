"""Apache Spark on this machine: server, cluster, health."""
