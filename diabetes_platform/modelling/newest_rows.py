"""Candidate against champion on the newest labelled rows: those the champion never learned from."""

import numpy as np

from diabetes_platform.contract.bundle import Bundle
from diabetes_platform.modelling.answers import answers
from diabetes_platform.modelling.comparison import beyond_comparison
from diabetes_platform.modelling.cross_validation import OutOfFold
from diabetes_platform.modelling.gate import (
    Difference,
    Verdict,
    judge_on_newest_rows,
    no_champion,
    too_few_newest_rows,
)
from diabetes_platform.modelling.store import ModelVersion
from diabetes_platform.modelling.training_set import BoolArray, FloatArray, TrainingSet

FEWEST = 30
FEWEST_OF_EACH = 5
"""With fewer new rows, or fewer of one outcome, chance alone would decide."""
_REACH = 1.96
"""Standard errors on either side of a 95 % interval."""


def beats_champion_on_newest_rows(
    rows: TrainingSet,
    candidate: OutOfFold,
    bundle: Bundle,
    *,
    champion: ModelVersion | None,
    champion_rows: TrainingSet | None,
) -> Verdict:
    """Compare both on the patients of `rows` who are not among `champion_rows`.

    The champion answers as it is released: it has never seen them. The candidate's answers are
    those of the models that were trained without the patient's fold. The interval is that of the
    mean of paired differences, row by row.
    """
    if champion is None:
        return no_champion()
    beyond = beyond_comparison(bundle, champion.bundle)
    if beyond is not None:
        return beyond
    new = new_to(champion_rows, rows)
    count, ill = int(new.sum()), int(rows.outcomes[new].sum())
    if count < FEWEST or min(ill, count - ill) < FEWEST_OF_EACH:
        return too_few_newest_rows(count, ill, needed=FEWEST, of_each=FEWEST_OF_EACH)
    rival = answers(champion, rows.features[new])
    outcomes = rows.outcomes[new].astype(np.float64)
    mine = candidate.probabilities[:, new]
    found = {"brier": _difference(_squared(mine, outcomes), _squared(rival[None, :], outcomes))}
    return judge_on_newest_rows(found, count)


def new_to(known: TrainingSet | None, rows: TrainingSet) -> BoolArray:
    """Return which of `rows`, (rows,), are of patients that `known` has not, by what tells them.

    A patient is known by measurements, as duplicates are, and by intake: a corrected outcome, or
    a corrected measurement, makes no new patient.
    """
    if known is None:
        return np.ones(len(rows), dtype=np.bool_)
    keys, intakes = set(known.measurement_keys), set(known.intakes) - {None}
    pairs = zip(rows.measurement_keys, rows.intakes, strict=True)
    return np.array([key not in keys and intake not in intakes for key, intake in pairs])


def _squared(probabilities: FloatArray, outcomes: FloatArray) -> FloatArray:
    """Return each row's squared error, (rows,), the mean over repeats (repeats, rows)."""
    return np.asarray(((probabilities - outcomes) ** 2).mean(axis=0))


def _difference(candidate: FloatArray, rival: FloatArray) -> Difference:
    paired = candidate - rival
    reach = _REACH * float(paired.std(ddof=1)) / float(np.sqrt(len(paired)))
    estimate = float(paired.mean())
    return Difference(
        metric="brier",
        candidate=float(candidate.mean()),
        rival=float(rival.mean()),
        estimate=estimate,
        low=estimate - reach,
        high=estimate + reach,
    )
