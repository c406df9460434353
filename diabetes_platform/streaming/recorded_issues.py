"""Health issues that other processes record in a file, for the sensor `stream_health`.

A process without Dagster, such as `stream-job`, raises an alert through the incidents this way.
"""

import json
from pathlib import Path

from diabetes_platform.streaming.incidents import HealthIssue

ISSUE_MS = 3_600_000
"""A recorded issue lasts this long, so that a sensor that is down for a while still reads it."""


def record_issue(path: Path, subject: str, problem: str, now_ms: int) -> None:
    """Append an issue to the file. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"subject": subject, "problem": problem, "recorded_ms": now_ms})
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def recorded_issues(path: Path, now_ms: int) -> list[HealthIssue]:
    """Return the issues of the last hour; a line that a full disk cut off is ignored."""
    if not path.exists():
        return []
    issues = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
            subject, problem = str(content["subject"]), str(content["problem"])
            recorded_ms = int(content["recorded_ms"])
        except (ValueError, LookupError, TypeError):
            continue
        if now_ms - recorded_ms < ISSUE_MS:
            issues.append(
                HealthIssue(
                    subject,
                    problem,
                    first_ms=recorded_ms,
                    last_ms=recorded_ms,
                    urgent=True,
                )
            )
    return issues
