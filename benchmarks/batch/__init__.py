"""The batch path raw → staging → promoted, against one straight script that does the same job."""
