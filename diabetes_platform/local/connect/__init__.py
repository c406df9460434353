"""Kafka Connect with the Debezium connector on this machine: set-up, state, failures, health."""
