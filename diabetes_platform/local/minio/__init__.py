"""MinIO on this machine: buckets, users, policies, health."""
