"""A backlog of changes through the stream's job, on the running platform's Flink and Kafka."""
