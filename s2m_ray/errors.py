"""What a user can cause. The command line turns each of these into one line and exit code 2.

A message says, in this order: where, what was found, what was expected, the likely cause. Every class takes
one string and has no ``__init__`` of its own: an exception with more arguments does not unpickle when it
travels from a Ray worker to the driver.
"""

EXIT_INTERRUPTED = 75  # sysexits.h calls it EX_TEMPFAIL: try again later


class S2MError(Exception):
    """Base of all errors that are the user's to mend."""


class ConfigError(S2MError):
    """An option, a configuration file or a combination of the two is wrong."""


class ManifestError(S2MError):
    """A manifest, or the folder that it is made from, is wrong."""


class DecodeError(S2MError):
    """One item gives no usable audio. The text is ``reason: detail``; the reason is a fixed word."""

    @property
    def reason(self) -> str:
        """The fixed word before the first colon, such as ``missing`` or ``not_audio``."""
        return str(self).partition(": ")[0]

    @property
    def detail(self) -> str:
        """What was found, for people."""
        return str(self).partition(": ")[2]


class Interrupted(S2MError):
    """A job ended before it was done, without loss: the same call goes on. The command line's exit code is 75."""


class StoreError(S2MError):
    """An embedding store is missing, unfinished, or does not fit what it is used with."""


class CheckpointError(S2MError):
    """A model folder is missing, unfinished, or does not fit the stores."""


class EvaluationError(S2MError):
    """Queries and gallery cannot be scored."""
