"""PostgreSQL on this machine: data directory, server, set-up, health."""
