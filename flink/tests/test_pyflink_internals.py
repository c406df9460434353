"""The pin of PyFlink's private attributes."""

from importlib.metadata import version

from flink.pyflink_internals import TESTED_VERSION


def test_the_private_attributes_were_tested_with_the_installed_pyflink() -> None:
    installed = version("apache-flink")
    assert installed == TESTED_VERSION, (
        f"apache-flink is {installed}, but flink/pyflink_internals.py was tested with "
        f"{TESTED_VERSION}: compare its functions with the new version, run flink's tests, then "
        "set TESTED_VERSION"
    )
