"""The stream's Flink job with the default delays of Flink and its Kafka producer.

`benchmarks.stream.defaults` submits it in place of the platform's job.
"""

import sys

from flink.patients.job import CONFIGURATION, main
from flink.patients.kafka_tables import SINK_OPTIONS

BUFFER_TIMEOUT = "execution.buffer-timeout.interval"

if __name__ == "__main__":
    del CONFIGURATION[BUFFER_TIMEOUT]
    del SINK_OPTIONS["properties.linger.ms"], SINK_OPTIONS["properties.batch.size"]
    sys.exit(main(sys.argv[1:]))
