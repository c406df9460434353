"""Plots are small deterministic PNGs, embedded the way Dagster's UI shows them."""

import base64
from pathlib import Path

import numpy as np
import pytest

from diabetes_platform.contract.bundle import MODEL_FILE
from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.modelling.plots import importances, plot_candidate, png_markdown
from diabetes_platform.modelling.training import Candidate
from diabetes_platform.modelling.training_set import TrainingSet
from diabetes_platform.settings import PlatformSettings

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def fonts_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> Path:
    """matplotlib's font cache belongs to the platform's home, as in production."""
    directory = PlatformSettings().home / "cache" / "matplotlib"
    monkeypatch.setenv("MPLCONFIGDIR", str(directory))
    return directory


def test_plots_are_small_pngs(candidate: Candidate, pima: TrainingSet) -> None:
    plots = plot_candidate(candidate, pima)
    assert set(plots) == {"roc", "calibration", "importance"}
    for png in plots.values():
        assert png.startswith(PNG)
        assert 2_000 < len(png) < 40_000


def test_the_same_candidate_gives_the_same_plots(candidate: Candidate, pima: TrainingSet) -> None:
    assert plot_candidate(candidate, pima) == plot_candidate(candidate, pima)


def test_markdown_embeds_the_image() -> None:
    markdown = png_markdown(PNG, "ROC curve")
    assert markdown.startswith("![ROC curve](data:image/png;base64,")
    assert base64.b64decode(markdown.split(",")[1].rstrip(")")) == PNG


def test_glucose_has_the_highest_gain_and_shap(candidate: Candidate, pima: TrainingSet) -> None:
    gain, shap = importances(candidate.files[MODEL_FILE], pima)
    assert gain.sum() == pytest.approx(1)
    assert FEATURE_NAMES[int(np.argmax(gain))] == "glucose"
    assert FEATURE_NAMES[int(np.argmax(shap))] == "glucose"
