"""Delta tables: where they lie, how a source is read as received, how versions are written."""
