"""The cost of a commit of the ingest, and the latency from a message to its row in the lake."""
