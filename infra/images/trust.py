"""Writes Java's trusted certificates again, sorted and without the times of their installation.

`python3 trust.py FILE`; the file is a JKS key store with Debian's password. Standard library only.
"""

import hashlib
import struct
import sys
from pathlib import Path

PASSWORD = "changeit"  # noqa: S105 - the certificates are public; it only guards against damage
MAGIC, VERSION, TRUSTED = 0xFEEDFEED, 2, 2


def main(file: Path) -> None:
    """Rewrite `file`; raises ValueError if it is not a key store of certificates only."""
    content = file.read_bytes()
    magic, version, count = struct.unpack_from(">III", content)
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError(f"{file} is not a JKS key store of version {VERSION}")
    entries, position = [], 12
    for _ in range(count):
        tag, length = struct.unpack_from(">IH", content, position)
        if tag != TRUSTED:
            raise ValueError(f"{file} has an entry that is not a certificate")
        alias = content[position + 4 : position + 6 + length]
        # An alias is followed by 8 bytes of time, the type and the certificate.
        start = position + 6 + length + 8
        (type_length,) = struct.unpack_from(">H", content, start)
        (size,) = struct.unpack_from(">I", content, start + 2 + type_length)
        position = start + 6 + type_length + size
        entries.append((alias, content[start:position]))
    store = struct.pack(">III", MAGIC, VERSION, count)
    for alias, certificate in sorted(entries):
        store += struct.pack(">I", TRUSTED) + alias + bytes(8) + certificate
    digest = hashlib.sha1(PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + store)  # noqa: S324 - the format's own
    file.write_bytes(store + digest.digest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
