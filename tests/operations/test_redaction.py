"""A job's metadata and log hold no credentials."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2m_ray.errors import ConfigError
from s2m_ray.operations.redaction import Redacted, chosen, hider, refuse_secrets

SECRET = "wJalrXUtnFEMI/K7MDENG"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AWS_SECRET_ACCESS_KEY", "looks like a secret"),
        ("HF_TOKEN", "looks like a secret"),
        ("RAY_AUTH_TOKEN", "looks like a secret"),
        ("DB_PASSWORD", "looks like a secret"),
        ("PATH", "is not one that a job needs"),
        ("AWS_REGION_OLD", "is not one that a job needs"),
        ("AWS_REGION", "not set here"),
        ("AWS_ENDPOINT_URL", "was given with a user"),
    ],
)
def test_only_names_on_the_list_travel(name, message):
    environment = {
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "PATH": "/bin",
        "AWS_ENDPOINT_URL": f"http://me:{SECRET}@host:9000",
    }
    with pytest.raises(ConfigError, match=message) as caught:
        chosen([name], environment)
    assert SECRET not in str(caught.value)


def test_what_is_named_travels_and_nothing_else():
    environment = {"AWS_REGION": "eu-central-1", "HF_HOME": "/shared/hf", "AWS_SECRET_ACCESS_KEY": SECRET}
    assert chosen(["AWS_REGION"], environment) == {"AWS_REGION": "eu-central-1"}


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIA:{SECRET}@bucket/m.parquet",
        f"--out=s3://AKIA:{SECRET}@bucket/m",
        f"s3://bucket/m?session_token={SECRET}",
        f"https://host/a?X-Amz-Signature={SECRET}",
    ],
)
def test_a_command_with_credentials_is_refused(text):
    with pytest.raises(ConfigError, match="credentials belong to the nodes") as caught:
        refuse_secrets(text, "command")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/m.parquet",
        "s3://b/p?endpoint_override=http://host:9000&scheme=http",
        "hf:a/b?layer=9",
        "loss.x=0.2",
    ],
)
def test_an_ordinary_command_is_not(text):
    refuse_secrets(text, "command")


def log(lines: list[str], environment: dict[str, str], mark: str = "") -> str:
    kept = io.StringIO()
    stream = Redacted(kept, hider(environment), mark)
    for line in lines:
        stream.write(line)
    stream.close()
    return kept.getvalue()


@given(st.lists(st.integers(1, 40), max_size=8))
def test_a_secret_is_hidden_however_the_line_is_written(cuts):
    line = f"connect with {SECRET} to s3://AKIA:{SECRET}@bucket/path?token={SECRET} now\nnext"
    pieces = []
    for cut in cuts:
        pieces.append(line[:cut])
        line = line[cut:]
    found = log([*pieces, line], {"AWS_SECRET_ACCESS_KEY": SECRET, "HOME": "/root"})
    assert found == "connect with <AWS_SECRET_ACCESS_KEY> to s3://bucket/path now\nnext\n"


def test_ordinary_values_stay_readable():
    environment = {"RAY_AUTH_MODE": "token", "KEY": "ab", "SSH_AUTH_SOCK": "/run/agent", "XAUTHORITY": "12345678"}
    text = "token ab /run/agent 12345678 https://arxiv.org/abs/2303.10539\n"
    assert log([text], environment) == text


def test_lines_are_marked_whole():
    assert log(["a", "b\nc\n", "d"], {}, mark="\x1e") == "\x1eab\n\x1ec\n\x1ed\n"
