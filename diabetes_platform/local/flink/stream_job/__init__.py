"""The life of Flink's job on a cluster without high availability: submitted, watched, restored."""
