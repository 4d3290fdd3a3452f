"""Connect to S3 and Google Cloud Storage with time-outs and few retries."""

import os
import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from s2m_ray.files.addresses import S3_OPTIONS, masked

CONNECT_S = 5.0  # enough for a service that is there
ATTEMPTS = 3  # the default of AWS
GCS_RETRY_S = 30  # the default of Arrow is 15 minutes
REFUSED = re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|CREDENTIAL|TOKEN|UNAUTH|FORBIDDEN", re.IGNORECASE)


@lru_cache(maxsize=64)
def filesystem(scheme: str, netloc: str, query: str) -> Any:
    """Return the Arrow file system of a service, which is made once per process.

    Args:
        scheme: ``s3``, ``gs`` or ``gcs``.
        netloc: Bucket, with credentials before an ``@`` if the URI has them.
        query: Options of the URI.
    """
    from pyarrow.fs import FileSystem

    if scheme == "s3":
        return _s3(netloc, dict(parse_qsl(query)))
    if "retry_limit_seconds=" not in query:
        query = f"{query}&retry_limit_seconds={GCS_RETRY_S}".removeprefix("&")
    return FileSystem.from_uri(f"{scheme}://{netloc}/{'?' if query else ''}{query}")[0]


def _s3(netloc: str, options: dict[str, str]) -> Any:
    """Connect to S3 with a time-out and few retries.

    ``FileSystem.from_uri`` accepts neither setting, so it would wait a minute for a service that does not exist.
    Credentials that the URI lacks come from the environment, the files of the AWS tools or the role of the machine.
    """
    from pyarrow.fs import (
        AwsStandardS3RetryStrategy,
        S3FileSystem,
        resolve_s3_region,
    )  # Arrow may be built without S3

    unknown = sorted(set(options) - set(S3_OPTIONS))
    if unknown:
        raise ValueError(f"unknown option '{unknown[0]}', expected one of {', '.join(S3_OPTIONS)}")
    user, _, bucket = netloc.rpartition("@")
    key, _, secret = user.partition(":")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get(
        "AWS_ENDPOINT_URL"
    )  # the names that the AWS tools use
    if endpoint:
        options = {"endpoint_override": endpoint, "scheme": endpoint.partition("://")[0], **options}
    if "region" not in options and not any(map(os.environ.get, ("AWS_REGION", "AWS_DEFAULT_REGION"))):
        options["region"] = "us-east-1" if "endpoint_override" in options else resolve_s3_region(bucket)
    # a delayed open uploads a small file in one request instead of three
    return S3FileSystem(
        access_key=unquote(key) or None,
        secret_key=unquote(secret) or None,
        connect_timeout=CONNECT_S,
        allow_delayed_open=True,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **options,
    )


def reason_of(error: Exception) -> str:
    """Return the reason in an error of Arrow as one short line without secrets."""
    text = masked(str(error).partition("\n")[0]).partition(" (Request ID")[0]
    text = text[text.find("AWS Error") :] if "AWS Error" in text else text
    refused = "; check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
    return text.rstrip(".") + (refused if REFUSED.search(text) else "")
