"""The model store: immutable versions and the champion pointer, in a directory or on S3."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from pydantic import TypeAdapter

from diabetes_platform.contract.bundle import (
    BUNDLE_FILE,
    MODELS_PREFIX,
    WITHDRAWN_PREFIX,
    Bundle,
    BundleError,
    ChampionPointer,
    bundle_key,
    champion_key,
    dump_bundle,
    dump_champion,
    load_bundle,
    load_champion,
    open_bundle,
    sha256,
    with_content_version,
)
from diabetes_platform.contract.s3 import DEFAULT_S3, S3
from diabetes_platform.lake.objects import open_store
from diabetes_platform.modelling.gate_result import GateResult

if TYPE_CHECKING:
    from obstore import PutMode

_CANDIDATE_KEY = f"{MODELS_PREFIX}/candidate.json"
_RELEASES_PREFIX = f"{MODELS_PREFIX}/releases"


class ModelStoreError(RuntimeError):
    """A version exists with other bytes, or is missing."""


class ReleaseConflictError(ModelStoreError):
    """Another release moved the champion pointer first: evaluate the candidate against it."""


@dataclass(frozen=True, slots=True)
class StoredPointer:
    """The champion pointer and its ETag, which a release passes as `expected_etag`."""

    champion: ChampionPointer
    etag: str


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version with verified hashes, and the pointer to it."""

    bundle: Bundle
    files: dict[str, bytes]
    pointer: ChampionPointer


@dataclass(frozen=True, slots=True)
class CurrentVersion:
    """The champion's version, and the ETag that a release must still find."""

    model: ModelVersion
    etag: str

    @property
    def bundle(self) -> Bundle:
        """The champion's bundle."""
        return self.model.bundle


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """The newest candidate: its input, the champion it was compared with, and the verdicts.

    `verdicts` has the result of each rule; `champion_etag` is empty if there was no champion.
    """

    model_version: str
    input_version: str
    champion_etag: str
    verdicts: dict[str, GateResult]


class ModelStore:
    """Model versions below `url`: a directory, or an object store's URL (`s3://bucket/prefix`).

    Versions are immutable; the pointer moves by compare-and-swap, so that of two concurrent
    releases one raises ReleaseConflictError. Every method raises StorageError if S3 fails.
    """

    def __init__(self, url: str, s3: S3 = DEFAULT_S3) -> None:
        self._root = _local_root(url)
        self._url, self._s3 = url, s3
        self._store = open_store(url if self._root is None else str(self._root), s3)

    def put_version(self, bundle: Bundle, files: Mapping[str, bytes]) -> ChampionPointer:
        """Write a version once and return the pointer that would release it.

        `bundle.json` is written last, so that a version without it is incomplete. Writing the same
        bytes twice is idempotent. Raises ModelStoreError if the version has other bytes, and
        BundleError if `files` are not those of `bundle`.
        """
        contents = {**files, BUNDLE_FILE: dump_bundle(bundle)}
        pointer = ChampionPointer(bundle.model_version, sha256(contents[BUNDLE_FILE]))
        _verify(pointer, contents)
        for name in sorted(contents, key=lambda name: name == BUNDLE_FILE):
            self._put_once(bundle_key(bundle.model_version, name), contents[name])
        return pointer

    def read_version(self, version: str) -> ModelVersion:
        """Read a version by its name and verify it; raises BundleError."""
        content = self._get(bundle_key(version, BUNDLE_FILE))
        return self.read(ChampionPointer(version, sha256(content)))

    def read(self, pointer: ChampionPointer) -> ModelVersion:
        """Read the version that `pointer` names and verify every hash; raises BundleError.

        The contract fingerprint is not compared: the release gate handles a champion of an older
        contract, and serving rejects it.
        """
        version = pointer.model_version
        content = self._get(bundle_key(version, BUNDLE_FILE))
        names = {BUNDLE_FILE, *load_bundle(content).files}
        files = {name: self._get(bundle_key(version, name)) for name in sorted(names)}
        return ModelVersion(_verify(pointer, files), files, pointer)

    def champion(self) -> StoredPointer | None:
        """Return the champion pointer, or None before the first release."""
        stored = self._find(champion_key())
        return None if stored is None else StoredPointer(load_champion(stored[0]), _etag(stored[1]))

    def current_version(self) -> CurrentVersion | None:
        """Return the champion with its files; None before the first release."""
        if (current := self.champion()) is None:
            return None
        return CurrentVersion(self.read(current.champion), current.etag)

    def release(self, champion: ChampionPointer, *, expected_etag: str | None) -> str:
        """Point at `champion` if the pointer still has `expected_etag`; return the new ETag.

        `expected_etag` is None for the first release. Raises ReleaseConflictError if the pointer
        has moved, and BundleError if the version is incomplete.
        """
        self.read(champion)
        content, replaced = dump_champion(champion), self.champion()
        try:
            etag = self._swap(content, expected_etag)
        except (AlreadyExistsError, PreconditionError) as error:
            raise ReleaseConflictError(
                f"{champion_key()}: the pointer no longer has ETag {expected_etag}: "
                f"another release was first"
            ) from error
        # The swap succeeded, so `replaced` was still the champion.
        previous = None if replaced is None else replaced.champion.model_version
        self._record_release(champion.model_version, previous)
        return etag

    def put_candidate(self, candidate: CandidateRecord) -> None:
        """Record `candidate` as the newest one."""
        self._put(_CANDIDATE_KEY, json.dumps(asdict(candidate), ensure_ascii=False).encode())

    def candidate(self) -> CandidateRecord | None:
        """Return the newest candidate; None if none was recorded."""
        stored = self._find(_CANDIDATE_KEY)
        return None if stored is None else TypeAdapter(CandidateRecord).validate_json(stored[0])

    def releases(self) -> list[str]:
        """Return the released versions, newest first, with the predecessor of the first record."""
        records = [json.loads(self._get(key)) for key in reversed(self._list(_RELEASES_PREFIX))]
        versions = [record[name] for record in records for name in ("model_version", "previous")]
        return [*dict.fromkeys(version for version in versions if version is not None)]

    def _record_release(self, version: str, previous: str | None) -> None:
        content = json.dumps({"model_version": version, "previous": previous}).encode()
        number = len(self._list(_RELEASES_PREFIX))
        while True:
            number += 1
            # Another release may have taken the number.
            with suppress(AlreadyExistsError):
                self._put(f"{_RELEASES_PREFIX}/{number:06}.json", content, "create")
                return

    def withdraw(self, version: str, reason: str) -> None:
        """Exclude `version` from automatic releases; the first reason is kept."""
        content = json.dumps({"reason": reason}, ensure_ascii=False).encode()
        with suppress(AlreadyExistsError):
            self._put(f"{WITHDRAWN_PREFIX}/{version}.json", content, "create")

    def withdrawn(self) -> dict[str, str]:
        """Return the withdrawn versions with their reasons."""
        paths = self._list(WITHDRAWN_PREFIX)
        return {PurePosixPath(path).stem: json.loads(self._get(path))["reason"] for path in paths}

    def _swap(self, content: bytes, expected_etag: str | None) -> str:
        if self._root is None or expected_etag is None:
            mode: PutMode = "create" if expected_etag is None else {"e_tag": expected_etag}
            return _etag(self._put(champion_key(), content, mode))
        # A directory has no conditional put: a lock makes compare and swap atomic.
        with _locked(self._root / f"{champion_key()}.lock"):
            current = obstore.head(self._store, champion_key())["e_tag"]
            if current != expected_etag:
                raise PreconditionError(f"{champion_key()}: ETag is {current}")
            return _etag(self._put(champion_key(), content))

    def _put_once(self, key: str, content: bytes) -> None:
        try:
            self._put(key, content, "create")
        except AlreadyExistsError:
            existing = self._get(key)
            if existing != content:
                raise ModelStoreError(
                    f"{key} exists with SHA-256 {sha256(existing)}, not {sha256(content)}: "
                    f"a version never changes"
                ) from None

    def _put(self, key: str, content: bytes, mode: "PutMode | None" = None) -> str | None:
        """Write an object; return its ETag."""
        with self._s3.errors(self._url):
            return obstore.put(self._store, key, content, mode=mode)["e_tag"]

    def _get(self, key: str) -> bytes:
        if (stored := self._find(key)) is None:
            raise ModelStoreError(f"{key}: not in the model store")
        return stored[0]

    def _find(self, key: str) -> tuple[bytes, str | None] | None:
        """Return an object and its ETag; None if it does not exist."""
        with suppress(FileNotFoundError), self._s3.errors(self._url):
            response = obstore.get(self._store, key)
            return bytes(response.bytes()), response.meta["e_tag"]
        return None

    def _list(self, prefix: str) -> list[str]:
        """Return the sorted keys below `prefix`."""
        with self._s3.errors(self._url):
            listed = obstore.list(self._store, prefix).collect()
        return sorted(str(item["path"]) for item in listed)


def _verify(pointer: ChampionPointer, files: Mapping[str, bytes]) -> Bundle:
    bundle = open_bundle(pointer, files, any_contract=True)
    expected = with_content_version(bundle).model_version
    if expected != bundle.model_version:
        raise BundleError(f"model version is {bundle.model_version}; its content gives {expected}")
    return bundle


def _local_root(url: str) -> Path | None:
    parts = urlsplit(url)
    if "://" not in url:
        return Path(url).absolute()
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _etag(etag: str | None) -> str:
    if etag is None:
        raise ModelStoreError("the model store returned no ETag; a release needs one")
    return etag


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
