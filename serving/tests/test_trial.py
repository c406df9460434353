"""A model is tried out in a process of its own, of which nothing stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from diabetes_platform.contract.bundle import BundleError
from diabetes_platform.contract.fields import fingerprint
from serving.app.served_model import open_in_subprocess
from serving.tests.bundles import champion_of, make_bundle, model_text

CHECKOUT = Path(__file__).resolve().parents[2]
KILLED = """
import multiprocessing, os, signal, threading, time
from serving.tests.test_trial import try_good

if __name__ == "__main__":
    threading.Thread(target=try_good, daemon=True).start()
    while not multiprocessing.active_children():
        time.sleep(0.001)
    print("begun", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def try_good() -> None:
    bundle, files = make_bundle()
    open_in_subprocess(champion_of(bundle), files, contract_fingerprint=fingerprint())


def test_a_good_model_passes() -> None:
    try_good()


def test_what_is_wrong_with_a_model_is_raised_here() -> None:
    bundle, files = make_bundle(contract_fingerprint="f" * 64)
    with pytest.raises(BundleError, match="contract fingerprint"):
        open_in_subprocess(champion_of(bundle), files, contract_fingerprint=fingerprint())


def test_a_text_that_ends_its_process_is_told() -> None:
    bundle, files = make_bundle(text=model_text().replace("leaf_value=", "leaf_value=nan ", 1))
    with pytest.raises(BundleError, match="LightGBM ends the process that reads it"):
        open_in_subprocess(champion_of(bundle), files, contract_fingerprint=fingerprint())


@pytest.mark.integration
def test_a_process_that_is_killed_leaves_no_other_and_no_complaint_behind(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    # It returns once nobody holds the output any more: a process left behind would.
    run = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=CHECKOUT,
        env={"PYTHONPATH": str(CHECKOUT)},
    )
    assert (run.returncode, run.stdout, run.stderr) == (-9, "begun\n", "")
