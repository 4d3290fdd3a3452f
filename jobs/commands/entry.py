"""Run `s2m`: turn errors into one line and an exit code."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from jobs.commands.options import EXIT_INPUT, app
from jobs.commands.output import say
from s2m_ray.errors import EXIT_INTERRUPTED, Interrupted, S2MError

DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)  # the user can mend these: the disk is full or read only, or something else has the name of the output
TYPER_INTERRUPTED = 130  # what Typer makes of a KeyboardInterrupt


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn errors of the user into a line on stderr and exit code 2, and an interruption into exit code 75."""

    def stop(code: int, text: str) -> NoReturn:
        say(" ".join(text.split()))
        sys.exit(code)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except Interrupted as error:
        stop(EXIT_INTERRUPTED, f"interrupted: {error}")
    except S2MError as error:
        stop(EXIT_INPUT, f"error: {error}")
    except OSError as error:
        if error.errno not in DISK:
            raise
        stop(
            EXIT_INPUT,
            f"error: {error.filename or 'output'}: {os.strerror(error.errno)}; nothing that was written is lost",
        )
    except typer.TyperException as error:  # a wrong call; its subclasses all have format_message
        text = getattr(error, "format_message", error.__str__)()
        stop(EXIT_INPUT, f"error: {text.rstrip('.')}; see --help")
    except (KeyboardInterrupt, typer.Abort):
        stop(EXIT_INTERRUPTED, "interrupted; the same command resumes")


def main() -> None:
    """Entry point of ``s2m``."""
    with exit_codes():
        if "S2M_SUBMITTED" in os.environ:
            from jobs.remote.driver import prepare

            prepare()
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        if code == TYPER_INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
