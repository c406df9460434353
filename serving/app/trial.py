"""A model is first opened in a process of its own: LightGBM ends the process on some texts.

Hashes only say that a model is the one released. A malformed text with the right hash must take
down neither the model in use nor an API that starts.
"""

from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from diabetes_platform.contract.bundle import MODEL_FILE, BundleError, ChampionPointer
from serving.app.served_model import open_model


def try_out(
    champion: ChampionPointer, files: Mapping[str, bytes], *, contract_fingerprint: str
) -> None:
    """Open the model in another process; raises BundleError where that fails or kills it.

    Takes about a second, once for each new version: not for the event loop. The other process ends
    with its only task, also where this one is killed meanwhile.
    """
    context = get_context("spawn")
    answer, own = context.Pipe(duplex=False)
    trial = context.Process(
        target=_open, args=(own, champion, dict(files), contract_fingerprint), daemon=True
    )
    trial.start()
    own.close()
    try:
        error: Exception | None = answer.recv()
    except EOFError:
        raise BundleError(f"{MODEL_FILE}: LightGBM ends the process that reads it") from None
    finally:
        answer.close()
        trial.join()
    if error is not None:
        raise error


def _open(
    own: Connection, champion: ChampionPointer, files: dict[str, bytes], contract_fingerprint: str
) -> None:
    problem: Exception | None = None
    try:
        open_model(champion, files, contract_fingerprint=contract_fingerprint)
    except Exception as error:  # noqa: BLE001 - raised again where it was asked for
        problem = error
    # An API that ended meanwhile wants no answer.
    with suppress(BrokenPipeError):
        own.send(problem)
