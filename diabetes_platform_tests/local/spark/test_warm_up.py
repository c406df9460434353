"""The warm-up of a Spark server: a whole batch, of which nothing is left."""

from pathlib import Path

from diabetes_platform.local.spark.warm_up import warm_up


def test_cleans_the_pima_data_and_leaves_no_table(tmp_path: Path) -> None:
    result = warm_up(None, tmp_path)

    assert (result.accepted, result.rejected) == (766, 2)
    assert not list(tmp_path.iterdir())
