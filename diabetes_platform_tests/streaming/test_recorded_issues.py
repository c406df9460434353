"""Issues that one process records and another one reads."""

from pathlib import Path

from diabetes_platform.streaming.incidents import OUTAGE_POLICY, update_incidents
from diabetes_platform.streaming.recorded_issues import ISSUE_MS, record_issue, recorded_issues

START = 1_800_000_000_000


def test_a_recorded_issue_is_urgent_and_is_resolved_after_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "issues.jsonl"
    assert recorded_issues(path, START) == []
    record_issue(path, "checkpoint s3://x/chk-9", "cannot be restored", START)
    issues = recorded_issues(path, START + 5)
    incidents, changes = update_incidents((), issues, START + 5, OUTAGE_POLICY)
    assert [incident.subject for incident in changes.opened] == ["checkpoint s3://x/chk-9"]
    _, changes = update_incidents(incidents, issues, START + 15_000, OUTAGE_POLICY)
    assert changes.opened == ()
    later = START + ISSUE_MS
    _, changes = update_incidents(incidents, recorded_issues(path, later), later, OUTAGE_POLICY)
    assert [incident.subject for incident in changes.resolved] == ["checkpoint s3://x/chk-9"]


def test_lines_that_a_full_disk_cut_off_hide_no_other_issue(tmp_path: Path) -> None:
    path = tmp_path / "issues.jsonl"
    path.write_bytes(b'{"subject": "a", "prob\n[]\n7\n{"subject": "b"}\n\xff\xfe\n\n')
    record_issue(path, "c", "fails", START)
    assert [issue.subject for issue in recorded_issues(path, START)] == ["c"]
