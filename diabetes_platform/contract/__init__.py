"""The contract of a patient record. Standard library only: serving/ and flink/ import it too."""
