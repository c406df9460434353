"""Set-up of the servers: buckets, databases, topics and the connector, on any host."""
