"""The batch path raw → staging → promoted, compared with one script that does the same job."""
