"""HTTP clients of the services that the platform depends on."""
