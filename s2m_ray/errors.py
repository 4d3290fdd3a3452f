"""Errors that a user can cause. The command line turns each of them into one line and exit code 2.

A message says, in this order: where the error is, what was found, what was expected, and the likely cause. Every
class takes one string and has no ``__init__`` of its own. An exception with more arguments could not be unpickled
when it travels from a Ray worker to the driver.
"""

EXIT_INTERRUPTED = 75  # sysexits.h calls it EX_TEMPFAIL: try again later


class S2MError(Exception):
    """The base of all errors that the user can mend."""


class ConfigError(S2MError):
    """An option, a configuration file or a combination of the two is wrong."""


class ManifestError(S2MError):
    """A manifest, or the folder that it is made from, is wrong."""


class DecodeError(S2MError):
    """One item gives no usable audio. The text is ``reason: detail``, and the reason is a fixed word.

    >>> error = DecodeError("missing: no such file")
    >>> error.reason, error.detail
    ('missing', 'no such file')
    """

    @property
    def reason(self) -> str:
        """Return the fixed word before the first colon, such as ``missing`` or ``not_audio``."""
        return str(self).partition(": ")[0]

    @property
    def detail(self) -> str:
        """Return what was found, for people to read."""
        return str(self).partition(": ")[2]


class Interrupted(S2MError):
    """A job ended early and lost nothing. The same call continues it. The exit code is ``EXIT_INTERRUPTED``."""


class StoreError(S2MError):
    """An embedding store is missing, unfinished, or does not fit what it is used with."""


class CheckpointError(S2MError):
    """A model folder is missing, unfinished, or does not fit the stores."""


class EvaluationError(S2MError):
    """Queries and gallery cannot be scored."""
