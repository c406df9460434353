"""The Kafka broker on this machine: class archive, data directory, server, topics, health."""
