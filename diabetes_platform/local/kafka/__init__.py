"""The Kafka broker on this machine: data directory, server, topics, health."""
