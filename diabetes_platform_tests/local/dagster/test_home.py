"""The demo's Dagster instance: the whole platform's, but for what needs services of its own."""

from pathlib import Path

import yaml

from diabetes_platform.local.dagster.home import INSTANCE, configure_demo, without_services


def test_only_what_needs_s3_is_left_out() -> None:
    config = {
        "storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}},
        "compute_logs": {"class": "S3ComputeLogManager"},
        "telemetry": {"enabled": False},
    }
    assert without_services(config) == {
        "storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}},
        "telemetry": {"enabled": False},
    }
    assert "compute_logs" in config, "what was given stays"


def test_the_demo_has_the_platforms_queue_retries_and_monitoring(tmp_path: Path) -> None:
    configure_demo(tmp_path)

    demo = yaml.safe_load((tmp_path / "dagster.yaml").read_text(encoding="utf-8"))
    platform = yaml.safe_load(INSTANCE.read_text(encoding="utf-8"))
    assert platform["compute_logs"]["class"] == "S3ComputeLogManager"
    del platform["compute_logs"]
    assert demo == platform


def test_a_link_of_an_earlier_version_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    before = INSTANCE.read_text(encoding="utf-8")
    (tmp_path / "dagster.yaml").symlink_to(INSTANCE)

    configure_demo(tmp_path)

    assert not (tmp_path / "dagster.yaml").is_symlink()
    assert INSTANCE.read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["dagster.yaml"]
