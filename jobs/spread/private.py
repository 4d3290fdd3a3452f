"""Reach the private parts of Ray that have no public counterpart, all of them here.

Another version of Ray may lack any of these names. Each function then does what Ray's public interface allows, and
warns once what no longer works. ``tests/jobs/test_private.py`` names the parts that are gone.
"""

import importlib
import os
import sys
import warnings
from functools import cache
from typing import Any

# What each private name is for, by `module:name`, and what happens without it
NAMES = {
    "ray._private.authentication.authentication_utils:is_token_auth_enabled": (
        "RAY_AUTH_MODE alone tells whether Ray sends a token"
    ),
    "ray._private.authentication.http_token_authentication:get_auth_headers_if_auth_enabled": (
        "a list of nodes is asked for without a token, so a cluster with authentication does not give it"
    ),
    "ray._raylet:AuthenticationTokenLoader": "a token that is set after Ray was imported is not seen",
    "ray._raylet:Config": "an authentication mode that is set after Ray was imported is not seen",
    "ray.train.v2._internal.callbacks.placement_group_callback:PlacementGroupCleanerCallback": (
        "a local training session ends about 12 s later"
    ),
    "ray.train.torch:TorchTrainer._create_default_callbacks": "a local training session ends about 12 s later",
}


class PrivateNameGone(ImportError):
    """Tell that this version of Ray does not have a private name any more."""


def find(name: str) -> Any:
    """Return a private object of Ray.

    Args:
        name: A key of ``NAMES``.

    Raises:
        PrivateNameGone: This version of Ray does not have it.
    """
    module, _, path = name.partition(":")
    try:
        value = importlib.import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise PrivateNameGone(f"this version of Ray has no {name}: {NAMES[name]}") from error
    return value


@cache
def warn(text: str) -> None:
    """Warn once in a process."""
    warnings.warn(text, RuntimeWarning, stacklevel=3)


def sends_token() -> bool:
    """Return whether Ray sends a token with each call."""
    try:
        is_enabled = find("ray._private.authentication.authentication_utils:is_token_auth_enabled")
    except PrivateNameGone as error:
        warn(str(error))
        return os.environ.get("RAY_AUTH_MODE") == "token"
    return bool(is_enabled())


def token_headers() -> dict[str, str]:
    """Return the HTTP headers that carry the token; none where authentication is off."""
    try:
        headers = find("ray._private.authentication.http_token_authentication:get_auth_headers_if_auth_enabled")
    except PrivateNameGone as error:
        warn(str(error))
        return {}
    return dict(headers({}))


def read_token_again() -> None:
    """Make Ray read the token and its mode anew. By itself it reads them once in a process."""
    if "ray" not in sys.modules:
        return  # it has not read them yet
    try:
        loader, config = find("ray._raylet:AuthenticationTokenLoader"), find("ray._raylet:Config")
        loader.instance().reset_cache()
        config.initialize("")
    except PrivateNameGone as error:
        warn(str(error))
    except AttributeError as error:  # the classes are there, a method is not
        warn(f"this version of Ray reads its token only once: {error}")


def local_trainer() -> Any:
    """Return a ``TorchTrainer`` without the actor that cleans up behind a lost controller.

    That actor asks Ray's dashboard, which a local session does not have, so ending it takes a time-out (measured:
    12 s for each fit). A local session ends together with this process and leaves nothing to clean up.
    """
    from ray.train.torch import TorchTrainer

    try:
        cleaner = find("ray.train.v2._internal.callbacks.placement_group_callback:PlacementGroupCleanerCallback")
        find("ray.train.torch:TorchTrainer._create_default_callbacks")
    except PrivateNameGone as error:
        warn(str(error))
        return TorchTrainer

    class LocalTrainer(TorchTrainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            return [each for each in super()._create_default_callbacks() if not isinstance(each, cleaner)]

    return LocalTrainer
