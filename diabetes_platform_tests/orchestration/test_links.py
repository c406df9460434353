"""Links from an asset's page to where its data are."""

import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.orchestration.links import runs_url
from diabetes_platform.settings import PlatformSettings

WHOLE_PLATFORM = PlatformSettings(
    lake_url="s3://lake/ours",
    flink_url="http://127.0.0.1:8081",
    storage_console_url="http://127.0.0.1:9001",
)


def links(settings: PlatformSettings, key: str) -> dict[str, object]:
    specs = build_definitions(lambda: settings).resolve_all_asset_specs()
    (asset,) = (spec for spec in specs if spec.key.to_user_string() == key)
    return {
        name.removeprefix("link/"): value.value
        for name, value in asset.metadata.items()
        if name.startswith("link/")
    }


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            "raw/patients",
            {"storage": "http://127.0.0.1:9001/browser/lake/ours%2Fraw%2Fpatients%2F"},
        ),
        (
            "stream/patients",
            {
                "flink": "http://127.0.0.1:8081",
                "storage": "http://127.0.0.1:9001/browser/lake/ours%2Fstream%2Fpatients%2F",
            },
        ),
        ("kafka/diabetes_out.public.sink_diabetes", {"flink": "http://127.0.0.1:8081"}),
        ("serving/patients", {"data_docs": "http://127.0.0.1:4001/data-docs/"}),
        ("model/champion", {"api": "http://127.0.0.1:4001/docs"}),
    ],
)
def test_an_asset_links_to_the_services_that_show_it(key: str, expected: dict[str, str]) -> None:
    assert links(WHOLE_PLATFORM, key) == expected


def test_does_not_link_services_that_are_not_configured() -> None:
    assert links(PlatformSettings(), "stream/patients") == {}
    assert links(PlatformSettings(), "raw/patients") == {}


def test_the_runs_of_a_graph_are_a_page_without_the_others() -> None:
    expected = "http://ui/runs?q%5B0%5D=tag%3Aplatform%2Fgraph%3Dbatch"
    assert runs_url("http://ui", "batch") == expected
