"""The lake's Delta tables, the ingestion of source files, and Arrow schemas of the contract."""
