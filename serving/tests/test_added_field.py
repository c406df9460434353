"""The API and the predictor on a contract with one more field, with a model from before it."""

import os
import subprocess
import sys
from pathlib import Path

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform_tests.grown_contract import NAME, add_field, copy_project
from serving.tests.bundles import make_bundle, release

PROGRAM = f"""
import json, sys, time
from pathlib import Path
from starlette.testclient import TestClient
from diabetes_platform.contract.fields import FEATURES
from serving.app.main import create_app
from serving.app.settings import ServingSettings
from serving.predictor.messages import ConsumedChange, read_message
from serving.tests.predictor.sample_messages import key, value

later = "{NAME}"
patient = {{field.name: field.example for field in FEATURES}}
earlier = {{name: number for name, number in patient.items() if name != later}}
settings = ServingSettings(home=Path(sys.argv[1]), model_poll_seconds=0.02)
with TestClient(create_app(settings)) as client:
    deadline = time.monotonic() + 60
    while (ready := client.get("/ready")).status_code != 200:
        assert time.monotonic() < deadline, ready.text
        time.sleep(0.1)
    answers = [client.post("/predict", json=row) for row in (earlier, patient)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[-1].text
    probabilities = [answer.json()["probability"] for answer in answers]
    assert probabilities[0] == probabilities[1], "the model does not know the field"
    refused = client.post("/predict", json=patient | {{later: 21}})
    assert refused.status_code == 422, refused.text
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Patient"]
    assert later in schema["properties"]
    assert later not in schema["required"]
    assert f'name="{{later}}"' in client.get("/").text
content = json.loads(value())
for row, expected in ((content, content[later]), ({{**content, later: None}}, None)):
    change = read_message(0, 0, 0, key(), json.dumps(row).encode()).content
    assert isinstance(change, ConsumedChange), change
    assert change.message.image[later] == expected
del content[later]
change = read_message(0, 0, 0, key(), json.dumps(content).encode()).content
assert isinstance(change, ConsumedChange), change
assert change.message.image[later] is None
"""


def test_serves_patients_with_and_without_the_field(tmp_path: Path) -> None:
    bundle, files = make_bundle()
    assert NAME not in FEATURE_NAMES
    release(tmp_path / "home" / "models", bundle, files)
    copy_project(tmp_path, "diabetes_platform", "serving")
    add_field(tmp_path)
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "home")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 0, program.stdout + program.stderr
