"""Maintenance of a Delta table with deltalake, compared with Delta Lake on a Spark server."""
