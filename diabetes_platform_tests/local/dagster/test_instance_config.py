"""The `dagster.yaml` of the demo: that of the platform without the parts that need S3."""

from pathlib import Path

import yaml

from diabetes_platform.local.dagster.instance_config import INSTANCE_FILE, write_demo_config


def test_the_demo_has_the_same_queue_retries_and_monitoring(tmp_path: Path) -> None:
    write_demo_config(tmp_path)

    demo = yaml.safe_load((tmp_path / "dagster.yaml").read_text(encoding="utf-8"))
    platform = yaml.safe_load(INSTANCE_FILE.read_text(encoding="utf-8"))
    assert platform["compute_logs"]["class"] == "S3ComputeLogManager"
    del platform["compute_logs"]
    assert demo == platform


def test_replaces_a_link_of_an_earlier_version_and_keeps_its_target(tmp_path: Path) -> None:
    content = INSTANCE_FILE.read_text(encoding="utf-8")
    (tmp_path / "dagster.yaml").symlink_to(INSTANCE_FILE)

    write_demo_config(tmp_path)

    assert not (tmp_path / "dagster.yaml").is_symlink()
    assert INSTANCE_FILE.read_text(encoding="utf-8") == content
    assert [path.name for path in tmp_path.iterdir()] == ["dagster.yaml"]
