"""PostgreSQL on this machine: install, data directory, server, set-up, health."""
