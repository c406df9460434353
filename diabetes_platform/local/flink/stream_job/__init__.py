"""The stream job on a cluster without high availability: submission, monitoring and recovery."""
