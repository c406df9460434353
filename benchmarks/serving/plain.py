"""The reference: a typical prediction API with FastAPI, pydantic and `Booster.predict`."""

import math
import os
from pathlib import Path
from typing import Annotated

import lightgbm
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field

THRESHOLD = 0.5


class Patient(BaseModel):
    """A patient, declared by hand with the platform's bounds."""

    pregnancies: Annotated[int, Field(ge=0, le=25)]
    glucose: Annotated[float | None, Field(ge=40, le=600)] = None
    blood_pressure: Annotated[float | None, Field(ge=20, le=200)] = None
    skin_thickness: Annotated[float | None, Field(ge=1, le=99)] = None
    insulin: Annotated[float | None, Field(ge=1, le=1000)] = None
    bmi: Annotated[float | None, Field(ge=10, le=100)] = None
    diabetes_pedigree_function: Annotated[float, Field(ge=0, le=5)]
    age: Annotated[float, Field(ge=18, le=120)]


class Prediction(BaseModel):
    """The response."""

    result: str
    probability: float
    threshold: float
    model_version: str


def create_app() -> FastAPI:
    """Return the application; `BENCHMARK_MODEL` is the path of `model.txt`."""
    booster = lightgbm.Booster(model_file=Path(os.environ["BENCHMARK_MODEL"]))
    app = FastAPI()

    @app.post("/predict")
    async def predict(patient: Patient) -> Prediction:
        values = patient.model_dump().values()
        row = [math.nan if value is None else value for value in values]
        probability = float(booster.predict(np.array([row]), num_threads=1)[0])
        return Prediction(
            result="Diabetes" if probability >= THRESHOLD else "Normal",
            probability=probability,
            threshold=THRESHOLD,
            model_version="plain",
        )

    return app
