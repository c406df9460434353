"""A model is first opened in a process of its own: LightGBM ends the process on some texts.

Hashes only say that a model is the one released. A malformed text with the right hash must take
down neither the model in use nor an API that starts.
"""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from diabetes_platform.contract.bundle import MODEL_FILE, BundleError, Champion
from serving.app.served_model import open_model


def try_out(champion: Champion, files: Mapping[str, bytes], *, contract_fingerprint: str) -> None:
    """Open the model in another process; raises BundleError where that fails or kills it.

    Takes about a second, once for each new version: not for the event loop.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        trial = pool.submit(_open, champion, dict(files), contract_fingerprint)
        try:
            trial.result()
        except BrokenProcessPool as error:
            raise BundleError(f"{MODEL_FILE}: LightGBM ends the process that reads it") from error


def _open(champion: Champion, files: dict[str, bytes], contract_fingerprint: str) -> None:
    open_model(champion, files, contract_fingerprint=contract_fingerprint)
