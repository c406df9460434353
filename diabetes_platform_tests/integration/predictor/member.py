"""A member of the predictors' group that takes a step when it is told to, by a line on stdin.

Runs in the API's environment, with the broker's address.
"""

import sys

from serving.predictor.inbox import Inbox
from serving.predictor.metrics import PredictorMetrics


def main(servers: str) -> None:
    inbox = Inbox(servers, PredictorMetrics())
    inbox.subscribe()
    sys.stdin.readline()
    while inbox.partitions == 0:
        inbox.receive(1, 0.1)
    say(f"partitions: {inbox.partitions}, lags: {inbox.lags()}")
    sys.stdin.readline()
    while not (received := inbox.receive(10, 0.1)):
        pass
    say(f"received: {len(received)}")
    inbox.close()


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
