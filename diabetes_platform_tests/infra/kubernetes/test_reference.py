"""The reference of the chart's values."""

import runpy

from diabetes_platform_tests.infra.kubernetes.rendered import CHART


def test_the_reference_is_current() -> None:
    script = runpy.run_path(str(CHART / "reference.py"))
    page = script["REFERENCE"].read_text(encoding="utf-8")
    assert page == script["page"](), "run `python infra/kubernetes/reference.py`"
