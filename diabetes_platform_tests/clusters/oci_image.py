"""Images of one layer for containerd."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

CREATED = "1970-01-01T00:00:00Z"
_MEDIA_TYPE = "application/vnd.oci.image"


def write_image(layer: bytes, name: str, archive: Path, *, entrypoint: str) -> None:
    """Write an OCI archive of an image; `layer` is the tar of its files."""
    blobs: dict[str, bytes] = {}

    def add(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {
            "mediaType": f"{_MEDIA_TYPE}.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(content),
        }

    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {"Entrypoint": [entrypoint], "User": "10001:10001"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA_TYPE}.manifest.v1+json",
        "config": add(json.dumps(config).encode(), "config.v1+json"),
        "layers": [add(gzip.compress(layer, compresslevel=1, mtime=0), "layer.v1.tar+gzip")],
    }
    entry = add(json.dumps(manifest).encode(), "manifest.v1+json")
    index = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA_TYPE}.index.v1+json",
        "manifests": [{**entry, "annotations": {"io.containerd.image.name": name}}],
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **blobs,
    }
    archive.write_bytes(tar(files, mode=0o644))


def tar(files: dict[str, bytes], *, mode: int) -> bytes:
    """Return a tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
