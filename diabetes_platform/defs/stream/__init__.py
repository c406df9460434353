"""Topics of the stream, their Delta tables, sensors and jobs."""
