"""A member of the predictors' consumer group that takes a step per line on standard input.

Runs in the serving environment. Its argument is the broker's address.
"""

import sys

from serving.predictor.consumer import PredictionConsumer
from serving.predictor.metrics import PredictorMetrics


def main(servers: str) -> None:
    consumer = PredictionConsumer(servers, PredictorMetrics())
    consumer.subscribe()
    sys.stdin.readline()
    while consumer.partitions == 0:
        consumer.poll(1, 0.1)
    write(f"partitions: {consumer.partitions}, lags: {consumer.lags()}")
    sys.stdin.readline()
    while not (messages := consumer.poll(10, 0.1)):
        pass
    write(f"messages: {len(messages)}")
    consumer.close()


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
