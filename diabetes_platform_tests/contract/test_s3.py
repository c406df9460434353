"""The options of the S3 libraries, and errors in one line without a secret."""

import pytest

from diabetes_platform.contract.s3 import (
    S3,
    PermanentStorageError,
    StorageError,
    StorageUnavailableError,
    is_s3_url,
    storage_error,
)

MINIO = S3("http://127.0.0.1:9000", "pipeline", "T0SECRET", "us-east-1")
LAKE = "s3://lake/raw/patients"


def answered(code: str) -> str:
    """deltalake's message for an error code of S3."""
    return (
        "Generic S3 error\n \x1b[31m↳\x1b[0m Error performing GET … 403 Forbidden\n"
        f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>No.</Message></Error>\nmore'
    )


def test_the_options_of_both_libraries_follow_from_the_same_settings() -> None:
    assert (
        MINIO.for_deltalake().items()
        >= {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
            "AWS_ACCESS_KEY_ID": "pipeline",
            "AWS_SECRET_ACCESS_KEY": "T0SECRET",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_CONDITIONAL_PUT": "etag",
        }.items()
    )
    obstore = MINIO.for_obstore()
    assert obstore["endpoint"] == "http://127.0.0.1:9000"
    assert obstore["client_options"] == {"allow_http": True}


def test_only_an_endpoint_of_plain_http_allows_it() -> None:
    encrypted = S3("https://s3.example", "pipeline", "T0SECRET")
    assert "AWS_ALLOW_HTTP" not in encrypted.for_deltalake()
    assert "client_options" not in encrypted.for_obstore()


def test_unset_parts_are_left_to_the_libraries() -> None:
    assert set(S3().for_deltalake()) == {"AWS_CONDITIONAL_PUT", "max_retries", "retry_timeout"}
    assert set(S3().for_obstore()) == {"retry_config"}


@pytest.mark.parametrize(
    ("url", "is_one"),
    [("s3://lake", True), ("s3a://lake/raw", True), ("/lake", False), ("file:///lake", False)],
)
def test_recognises_an_s3_url(url: str, is_one: bool) -> None:
    assert is_s3_url(url) is is_one


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (answered("InvalidAccessKeyId"), PermanentStorageError, "user pipeline does not exist"),
        (answered("SignatureDoesNotMatch"), PermanentStorageError, "not that of user pipeline"),
        (answered("AccessDenied"), PermanentStorageError, "may not do this in bucket lake"),
        (answered("NoSuchBucket"), PermanentStorageError, "bucket lake does not exist"),
        (answered("RequestTimeTooSkewed"), PermanentStorageError, "refused (RequestTimeTooSkewed)"),
        (answered("XMinioStorageFull"), PermanentStorageError, "the disk of the endpoint is full"),
        (answered("SlowDownWrite"), StorageUnavailableError, "overloaded"),
        ("… HTTP error\n error sending request", StorageUnavailableError, "does not answer"),
        ("PUT http://169.254.169.254/latest/api/token", PermanentStorageError, "has no role"),
        ("Generic S3 error\n Missing SecretAccessKey", PermanentStorageError, "without the other"),
    ],
)
def test_an_error_names_url_endpoint_and_cause_in_one_line(
    text: str, kind: type[StorageError], message: str
) -> None:
    error = storage_error(MINIO, LAKE, text)
    assert type(error) is kind
    assert str(error).startswith(f"{LAKE} at http://127.0.0.1:9000: ")
    assert message in str(error)
    assert "\n" not in str(error)
    assert "T0SECRET" not in str(error) + repr(MINIO)


@pytest.mark.parametrize("text", [answered("NoSuchKey"), answered("PreconditionFailed"), "line 3"])
def test_an_answer_that_callers_handle_is_no_storage_error(text: str) -> None:
    assert storage_error(MINIO, LAKE, text) is None


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(OSError, match="No space left"), MINIO.errors(LAKE):
        raise OSError(28, "No space left")
    with pytest.raises(OSError, match="AccessDenied"), MINIO.errors("/a/directory"):
        raise OSError(answered("AccessDenied"))


def test_the_librarys_message_is_not_chained_to_the_error() -> None:
    with pytest.raises(PermanentStorageError) as raised, MINIO.errors(LAKE):
        raise OSError(answered("AccessDenied"))
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
