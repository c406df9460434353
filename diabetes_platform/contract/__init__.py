"""What a patient record is. Standard library only, so that serving/ and flink/ can import it."""
