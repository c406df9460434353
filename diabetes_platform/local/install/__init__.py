"""Installation of the local servers' software: programs, jars and Python environments."""
