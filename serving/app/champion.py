"""The champion, kept current while the API runs: polls its pointer, verifies, then swaps.

`current` is one immutable object, replaced in one assignment. Whatever goes wrong with a newer
model, the one in use stays.
"""

import asyncio
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import obstore
from obstore.exceptions import BaseError, NotModifiedError
from obstore.store import LocalStore, ObjectStore, from_url

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    BundleError,
    ChampionPointer,
    bundle_key,
    champion_key,
    dump_bundle,
    load_bundle,
    load_champion,
    open_bundle,
    sha256,
)
from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.s3 import DEFAULT_S3, S3, is_s3_url, storage_error
from serving.app.metrics import ModelMetrics
from serving.app.served_model import ServedModel, open_model
from serving.app.trial import try_out

logger = logging.getLogger("serving.champion")

_LONGEST_RETRY_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class StoreError(Exception):
    """The model store cannot be read, or holds no released model yet."""


@dataclass(frozen=True, slots=True)
class _Pointer:
    """The pointer as read: the model it names, and the tag that says when it changes."""

    champion: ChampionPointer
    etag: str | None


class ChampionWatcher:
    """Follows the champion of one model store: a directory, or an S3 URL reached as `s3` says.

    `model` is in use until the store has a champion; it is open here, so it needs no trial.
    """

    def __init__(
        self,
        models: str,
        metrics: ModelMetrics,
        *,
        poll_seconds: float,
        s3: S3 = DEFAULT_S3,
        contract_fingerprint: str | None = None,
        model: ServedModel | None = None,
    ) -> None:
        self.current = model
        self.problem: str | None = "The model store has not been read yet."
        self._models, self._s3 = models, s3
        self._store: ObjectStore | None = None
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._contract_fingerprint = contract_fingerprint or fingerprint()
        self._etag_in_use: str | None = None
        self._tried = {_champion_of(model.bundle)} if model else set()
        self._refused: ChampionPointer | None = None
        self._refusals = 0
        self._retry_at = 0.0

    async def run(self) -> None:
        """Look at the store every `poll_seconds`, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._poll_seconds)

    async def look(self) -> None:
        """Take a new champion into use where there is one; else leave all and say why."""
        try:
            pointer = await self._read_pointer()
            if pointer is not None:
                await self._follow(pointer)
        except BundleError as error:
            self._failed("refused", str(error))
        except StoreError as error:
            self._failed("unreadable", str(error))
        except Exception as error:
            # The loop must outlive a fault that nobody foresaw: it shows like the others.
            logger.exception("looking at the model store failed")
            self._failed("unreadable", f"{type(error).__name__}")

    async def read_bundle(self, version: str) -> Bundle:
        """Return what the store says of a model; BundleError or StoreError where it cannot."""
        try:
            content, _ = await self._get(bundle_key(_safe_name(version), BUNDLE_FILE))
        except FileNotFoundError as error:
            raise BundleError(f"model {version}: not in the model store") from error
        return load_bundle(content)

    async def _follow(self, pointer: _Pointer) -> None:
        champion = pointer.champion
        if champion == self._refused and monotonic() < self._retry_at:
            return
        try:
            model = await self._open(champion)
        except BundleError:
            self._refusals = self._refusals + 1 if champion == self._refused else 1
            self._refused = champion
            wait = min(self._poll_seconds * 2**self._refusals, _LONGEST_RETRY_SECONDS)
            self._retry_at = monotonic() + wait
            raise
        previous = self.current.bundle.model_version if self.current else None
        self.current = model
        self._tried.add(champion)
        self.problem, self._refused, self._etag_in_use = None, None, pointer.etag
        self._metrics.model_changed(previous, champion.model_version)
        logger.info("model %s in use (before: %s)", champion.model_version, previous or "none")

    async def _open(self, champion: ChampionPointer) -> ServedModel:
        files = await self._read_files(champion)
        open_bundle(champion, files, contract_fingerprint=self._contract_fingerprint)
        # The first model too: one that ended the process would end it at every start.
        if champion not in self._tried:
            await asyncio.to_thread(
                try_out, champion, files, contract_fingerprint=self._contract_fingerprint
            )
        return await asyncio.to_thread(
            open_model, champion, files, contract_fingerprint=self._contract_fingerprint
        )

    async def _read_pointer(self) -> _Pointer | None:
        """Return the pointer, or None while it is the one in use."""
        try:
            content, etag = await self._get(champion_key(), unless=self._etag_in_use)
        except NotModifiedError:
            self.problem = None
            return None
        except FileNotFoundError:
            raise StoreError(f"no {champion_key()} in the model store: nothing released") from None
        return _Pointer(load_champion(content), etag)

    async def _read_files(self, champion: ChampionPointer) -> dict[str, bytes]:
        version = _safe_name(champion.model_version)
        files: dict[str, bytes] = {}
        try:
            content, _ = await self._get(bundle_key(version, BUNDLE_FILE))
            files[BUNDLE_FILE] = content
            # Names are believed only of the bundle that the pointer vouches for.
            if sha256(content) == champion.bundle_sha256:
                for name in {MODEL_FILE, *load_bundle(content).files}:
                    files[name], _ = await self._get(bundle_key(version, _safe_name(name)))
        except FileNotFoundError as error:
            raise BundleError(f"model {version}: a file of it is missing") from error
        return files

    async def _get(self, key: str, *, unless: str | None = None) -> tuple[bytes, str | None]:
        """Return an object's bytes and tag; FileNotFoundError, NotModifiedError or StoreError."""
        try:
            if self._store is None:
                self._store = _open_store(self._models, self._s3)
            options: obstore.GetOptions = {"if_none_match": unless} if unless else {}
            found = await obstore.get_async(self._store, key, options=options)
            return bytes(await found.bytes_async()), found.meta["e_tag"]
        except NotModifiedError:
            raise
        except (BaseError, FileNotFoundError) as error:
            # A bucket that is not there reads as a file that is not.
            told = storage_error(self._s3, self._models, str(error))
            if told is None and isinstance(error, FileNotFoundError):
                raise
            raise StoreError(str(told or _first_line(error))) from error

    def _failed(self, reason: str, text: str) -> None:
        self._metrics.reload_failed(reason)
        if text != self.problem:
            in_use = self.current.bundle.model_version if self.current else "none"
            logger.warning("champion not taken into use: %s (in use: %s)", text, in_use)
        self.problem = text


def _open_store(models: str, s3: S3) -> ObjectStore:
    if "://" in models:
        return from_url(models, **(s3.for_obstore() if is_s3_url(models) else {}))
    if not Path(models).is_dir():
        # The first release makes the directory: until then this is an empty store.
        raise StoreError(f"no model store at {models}: nothing released")
    return LocalStore(models)


def _champion_of(bundle: Bundle) -> ChampionPointer:
    return ChampionPointer(bundle.model_version, sha256(dump_bundle(bundle)))


def _safe_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BundleError(f"name in the model store: given {name[:100]!r}, allowed {_NAME.pattern}")
    return name


def _first_line(error: Exception) -> str:
    # obstore appends its own debugging dump.
    return str(error).strip().split("\n", 1)[0]
