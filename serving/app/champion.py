"""The champion watcher: polls the model store and swaps in the released model.

`ChampionWatcher.current` is one immutable object, replaced in one assignment. If a newer model
cannot be used, the current one stays in use.
"""

import asyncio
import logging
import re
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
from diabetes_platform.contract.s3 import DEFAULT_S3, S3, is_s3_url, storage_error
from serving.app.metrics import ModelMetrics
from serving.app.served_model import ServedModel, open_in_subprocess, open_model

logger = logging.getLogger("serving.champion")

_MAX_RETRY_SECONDS = 60.0
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class StoreError(Exception):
    """The model store cannot be read, or has no released model yet."""


class MissingFileError(StoreError):
    """The model store has no such file."""


class ChampionWatcher:
    """Follows the champion of one model store: a directory, or an S3 URL with credentials `s3`.

    `model` is used until the store has a champion; it is already open, so it is not tested in a
    subprocess first. `problem` says why the newest champion is not in use; None if it is in use.
    """

    def __init__(
        self,
        models: str,
        metrics: ModelMetrics,
        *,
        poll_seconds: float,
        s3: S3 = DEFAULT_S3,
        model: ServedModel | None = None,
    ) -> None:
        self.current = model
        self.problem: str | None = "The model store has not been read yet."
        self._models, self._s3 = models, s3
        self._store: ObjectStore | None = None
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._current_etag: str | None = None
        self._safe_to_open: set[ChampionPointer] = set()
        if model is not None:
            bundle_sha256 = sha256(dump_bundle(model.bundle))
            self._safe_to_open.add(ChampionPointer(model.bundle.model_version, bundle_sha256))
        self._rejected: ChampionPointer | None = None
        self._rejections = 0
        self._retry_at = 0.0

    async def run(self) -> None:
        """Poll the store every `poll_seconds`, forever."""
        while True:
            await self.poll()
            await asyncio.sleep(self._poll_seconds)

    async def poll(self) -> None:
        """Read the pointer once and use a new champion; set `problem` if that fails."""
        try:
            content, etag = await self._get(champion_key(), if_none_match=self._current_etag)
            await self._use(load_champion(content), etag)
        except NotModifiedError:
            self.problem = None
        except BundleError as error:
            self._report("refused", str(error))
        except StoreError as error:
            self._report("unreadable", str(error))
        except Exception as error:
            # The loop must survive an unexpected error, which is reported like the others.
            logger.exception("polling the model store failed")
            self._report("unreadable", f"{type(error).__name__}")

    async def read_bundle(self, version: str) -> Bundle:
        """Return the bundle of a model in the store; raise BundleError or StoreError."""
        try:
            content, _ = await self._get(bundle_key(_safe_name(version), BUNDLE_FILE))
        except MissingFileError as error:
            raise BundleError(f"model {version}: not in the model store") from error
        return load_bundle(content)

    async def _use(self, champion: ChampionPointer, etag: str | None) -> None:
        if champion == self._rejected and monotonic() < self._retry_at:
            return
        try:
            model = await self._open(champion)
        except BundleError:
            self._rejections = self._rejections + 1 if champion == self._rejected else 1
            self._rejected = champion
            delay = min(self._poll_seconds * 2**self._rejections, _MAX_RETRY_SECONDS)
            self._retry_at = monotonic() + delay
            raise
        previous = self.current.bundle.model_version if self.current else None
        self.current = model
        self._safe_to_open.add(champion)
        self.problem, self._rejected, self._current_etag = None, None, etag
        self._metrics.model_changed(previous, champion.model_version)
        logger.info("model %s in use (previous: %s)", champion.model_version, previous or "none")

    async def _open(self, champion: ChampionPointer) -> ServedModel:
        files = await self._read_files(champion)
        # Also for the first model: one that kills its process would kill this one at every start.
        if champion not in self._safe_to_open:
            open_bundle(champion, files)
            await asyncio.to_thread(open_in_subprocess, champion, files)
        return await asyncio.to_thread(open_model, champion, files)

    async def _read_files(self, champion: ChampionPointer) -> dict[str, bytes]:
        version = _safe_name(champion.model_version)
        files: dict[str, bytes] = {}
        try:
            content, _ = await self._get(bundle_key(version, BUNDLE_FILE))
            files[BUNDLE_FILE] = content
            # The bundle's file names are only trusted if it has the hash in the pointer.
            if sha256(content) == champion.bundle_sha256:
                for name in {MODEL_FILE, *load_bundle(content).files}:
                    files[name], _ = await self._get(bundle_key(version, _safe_name(name)))
        except MissingFileError as error:
            raise BundleError(f"model {version}: a file is missing") from error
        return files

    async def _get(self, key: str, *, if_none_match: str | None = None) -> tuple[bytes, str | None]:
        """Return an object's bytes and ETag; raise StoreError, or NotModifiedError by obstore."""
        try:
            if self._store is None:
                self._store = _open_store(self._models, self._s3)
            options: obstore.GetOptions = {"if_none_match": if_none_match} if if_none_match else {}
            response = await obstore.get_async(self._store, key, options=options)
            return bytes(await response.bytes_async()), response.meta["e_tag"]
        except NotModifiedError:
            raise
        except (BaseError, FileNotFoundError) as error:
            # obstore raises FileNotFoundError for a missing bucket, too.
            explanation = storage_error(self._s3, self._models, str(error))
            if explanation is None and isinstance(error, FileNotFoundError):
                raise MissingFileError(f"no {key} in the model store: nothing released") from error
            # obstore appends its own debug output.
            first_line = str(error).strip().split("\n", 1)[0]
            raise StoreError(str(explanation or first_line)) from error

    def _report(self, reason: str, problem: str) -> None:
        self._metrics.reload_failed(reason)
        if problem != self.problem:
            in_use = self.current.bundle.model_version if self.current else "none"
            logger.warning("champion cannot be used: %s (in use: %s)", problem, in_use)
        self.problem = problem


def _open_store(models: str, s3: S3) -> ObjectStore:
    if "://" in models:
        return from_url(models, **(s3.for_obstore() if is_s3_url(models) else {}))
    if not Path(models).is_dir():
        # The first release creates the directory.
        raise StoreError(f"no model store at {models}: nothing released")
    return LocalStore(models)


def _safe_name(name: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        raise BundleError(
            f"name in the model store is {name[:100]!r}; allowed: {_SAFE_NAME.pattern}"
        )
    return name
