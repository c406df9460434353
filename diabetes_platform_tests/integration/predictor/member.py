"""A member of the predictors' group that takes a step when it is told to, by a line on stdin.

Runs in the API's environment, with the broker's address.
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
    say(f"partitions: {consumer.partitions}, lags: {consumer.lags()}")
    sys.stdin.readline()
    while not (received := consumer.poll(10, 0.1)):
        pass
    say(f"received: {len(received)}")
    consumer.close()


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
