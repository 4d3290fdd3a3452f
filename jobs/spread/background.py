"""Run something long in a thread and look at its progress meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")
POLL_S = 0.5


def watched(work: Callable[[], Result], look: Callable[[], None], *, every_s: float = POLL_S) -> Result:
    """Run ``work`` in a thread, call ``look`` again and again until it is done, and return its result.

    Ray's trainer and tuner run this way because in the main thread they would put a handler of their own on Ctrl-C,
    which ends the process with exit code 0.

    Args:
        work: Runs in a daemon thread, so that an error of ``look`` ends the process without waiting for it.
        look: Runs in the calling thread. What it raises ends the wait.
        every_s: Seconds between two looks.

    Raises:
        BaseException: Whatever ``work`` or ``look`` raises.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while not wait([outcome], timeout=every_s).done:
        look()
    return outcome.result()
