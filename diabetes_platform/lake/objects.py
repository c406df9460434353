"""An object store at a URL: a directory, or S3."""

from obstore.store import LocalStore, ObjectStore, from_url

from diabetes_platform.contract.s3 import S3, is_s3_url


def open_store(url: str, s3: S3) -> ObjectStore:
    """Open the store at `url`: a directory, which the first write creates, or a URL.

    `s3` is the connection of an S3 URL.
    """
    if "://" not in url:
        return LocalStore(url, mkdir=True)
    return from_url(url, **(s3.for_obstore() if is_s3_url(url) else {}))
