"""The whole platform on one machine: its processes, how they are started, watched and stopped."""
