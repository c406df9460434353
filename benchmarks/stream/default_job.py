"""The stream's job with the waits that Flink and its Kafka producer have by default.

Submitted by `benchmarks.stream.defaults` in place of the platform's; no part of the product.
"""

import sys

from flink.patients.job import CONFIGURATION, main
from flink.patients.kafka_tables import SINK_OPTIONS

WAITS = "execution.buffer-timeout.interval"

if __name__ == "__main__":
    del (
        CONFIGURATION[WAITS],
        SINK_OPTIONS["properties.linger.ms"],
        SINK_OPTIONS["properties.batch.size"],
    )
    sys.exit(main(sys.argv[1:]))
