"""Speak to the job server of a Ray cluster, and never wait for it without end."""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from jobs.remote import token
from jobs.spread.private import token_headers
from s2m_ray.errors import EXIT_INTERRUPTED, ConfigError, Interrupted
from s2m_ray.files.addresses import masked

ANSWER_S = 8.0  # seconds for a question; a head on another continent answers within a second
PORT = 8265  # where Ray's dashboard listens by default
LOOK_S = 2.0  # seconds between two looks at the state of a job whose log is followed
LOST_S = 25.0  # a cluster that has not answered for this many seconds is gone
CHATTER = ("Running entrypoint for job ",)  # beginnings of lines that Ray itself writes to a job's log
T = TypeVar("T")


def api_url(address: str) -> str:
    """Return the base address of a job server.

    ``auto`` is RAY_API_SERVER_ADDRESS, or RAY_ADDRESS if that is a URL, or the dashboard's port on this machine.

    >>> api_url("10.0.0.7:8265")
    'http://10.0.0.7:8265'

    Raises:
        ConfigError: The address is neither a URL nor a host with a port.
    """
    url = address
    if address == "auto":
        ray_address = os.environ.get("RAY_ADDRESS", "")
        url = os.environ.get("RAY_API_SERVER_ADDRESS") or (ray_address if "://" in ray_address else "")
        url = url or f"http://127.0.0.1:{PORT}"
    if "://" not in url:
        url = f"http://{url}"
    scheme, _, rest = url.rstrip("/").partition("://")
    host, _, port = rest.rpartition(":")
    is_gcs = port == "6379"
    if scheme not in ("http", "https") or not rest or "@" in rest or is_gcs or (host and not port.isdigit()):
        likely = "; 6379 is the port of the cluster itself, the job server's is 8265" if is_gcs else ""
        raise ConfigError(
            f"--address {masked(address)}: expected auto, local or the URL of a job server such as "
            f"http://HOST:{PORT}{likely}"
        )
    return f"{scheme}://{rest}"


def within(seconds: float, what: str, function: Callable[[], T]) -> T:
    """Return a function's answer, or give up. Ray's client waits without end, so its thread is then left behind.

    Raises:
        ConfigError: No answer came in time.
    """
    answers: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def ask() -> None:
        try:
            answers.put((True, function()))
        except BaseException as error:
            answers.put((False, error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        is_good, answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise ConfigError(f"{what}: no answer within {seconds:g} s; is the cluster's head alive?") from None
    if not is_good:
        raise answer
    return answer


class Cluster:
    """Talk to a job server that has answered."""

    def __init__(self, address: str) -> None:
        """Reach the server, with the token of this machine if the server asks for one.

        Raises:
            ConfigError: Nobody answers, something else answers, or the token is missing or wrong.
        """
        self.url = api_url(address)
        self.warnings: list[str] = []
        token.use()
        self.has_authentication = self._asks_for_token()
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.ERROR)  # reports each package
        self._client = self._ask("connect", lambda: JobSubmissionClient(self.url), 2 * ANSWER_S)
        if self.has_authentication:
            self.jobs()  # with the token, which the question for a version does not need

    def _asks_for_token(self) -> bool:
        """Return whether the server asks for a token. Warn if it does not, or if the token travels in the open."""
        import requests

        where = f"--address {self.url}"
        try:
            answer = requests.get(f"{self.url}/api/jobs/", timeout=ANSWER_S)
        except requests.exceptions.Timeout:
            raise ConfigError(
                f"{where}: no answer within {ANSWER_S:g} s; is it a Ray head, and is it alive?"
            ) from None
        except (requests.exceptions.RequestException, ValueError, OSError) as error:
            reason = str(getattr(error, "reason", error)).partition("Caused by")[2] or str(error)
            refused = "connection refused" if "refused" in reason.lower() else "cannot be reached"
            raise ConfigError(
                f"{where}: {refused}: no Ray job server is there; is the cluster up, and is this the address "
                f"of its dashboard (port {PORT})? Behind a firewall, forward the port: "
                f"ssh -L {PORT}:127.0.0.1:{PORT} HEAD"
            ) from None
        if answer.status_code in (401, 403):
            if not self.url.startswith(("https://", "http://127.", "http://localhost", "http://[::1]")):
                self.warnings.append(
                    f"{self.url}: the token travels unencrypted; forward the port by ssh, or use https"
                )
            return True
        if answer.status_code != 200 or not answer.headers.get("Content-Type", "").startswith("application/json"):
            raise ConfigError(
                f"{where}: something answers there, with status {answer.status_code}, but no Ray job server"
            )
        self.warnings.append(
            f"{self.url}: takes jobs from everybody who reaches that port; start Ray with RAY_AUTH_MODE=token"
        )
        return False

    def _ask(self, what: str, function: Callable[[], T], seconds: float = ANSWER_S) -> T:
        """Ask the server, and raise a ConfigError for what the user can mend."""
        from ray.exceptions import AuthenticationError

        try:
            return within(seconds, f"{self.url}: {what}", function)
        except AuthenticationError:
            has = "another than the cluster's" if token.is_here() else "missing"
            raise ConfigError(f"{self.url}: the cluster asks for a token, and yours is {has}; {token.HELP}") from None
        except (ConnectionError, OSError) as error:
            raise ConfigError(f"{self.url}: {what}: {_line(error)}") from None
        except RuntimeError as error:
            text = _line(error)
            if "does not exist" in text:
                raise ConfigError(f"{self.url}: {what}: no such job; see `s2m jobs list`") from None
            if "No available agent" in text:
                text = "the head has no job agent; it starts seconds after the head, or another Ray has its port"
            raise ConfigError(f"{self.url}: {what}: {text}") from None

    def submit(self, *, seconds: float, **request: Any) -> str:
        """Submit a job, and return its id.

        Args:
            seconds: Time in which the server must take the job.
            request: Arguments of Ray's ``submit_job``.

        Raises:
            ConfigError: The server refuses the job, or has not taken it in time.
        """
        return self._ask("submit", lambda: self._client.submit_job(**request), seconds)

    def jobs(self) -> list[Any]:
        """Return all submitted jobs, newest first."""
        found = [job for job in self._ask("list", self._client.list_jobs) if job.submission_id]
        return sorted(found, key=lambda job: -(job.start_time or 0))

    def job(self, job_id: str) -> Any:
        """Return what the server knows of a job.

        Raises:
            ConfigError: The server knows no job of that id.
        """
        return self._ask(f"job {job_id}", lambda: self._client.get_job_info(job_id))

    def stop(self, job_id: str) -> bool:
        """Ask a job to end, as Ctrl-C would, and return whether it was running."""
        return self._ask(f"stop {job_id}", lambda: self._client.stop_job(job_id))

    def logs(self, job_id: str) -> str:
        """Return the log of a job so far."""
        return self._ask(f"logs of {job_id}", lambda: self._client.get_job_logs(job_id))

    def nodes(self) -> list[str]:
        """Return the address of each living node; empty if the server does not tell."""
        import requests

        url = f"{self.url}/api/v0/nodes?limit=10000"
        with suppress(requests.exceptions.RequestException, ValueError, KeyError, TypeError):
            answer = requests.get(url, timeout=ANSWER_S, headers=token_headers())
            rows = answer.json()["data"]["result"]["result"]
            return sorted(row["node_ip"] for row in rows if row["state"] == "ALIVE")
        return []

    def follow(self, job_id: str) -> Iterator[str]:
        """Yield the lines of a job's log as they come, until the job has ended.

        Raises:
            Interrupted: The cluster does not answer any more.
        """
        seen, answered, looked = 0, time.monotonic(), 0.0
        lines = self._tail(job_id, seen)
        while True:
            line: str | None = ""
            with suppress(queue.Empty):
                line = lines.get(timeout=0.2)
            if line:
                seen += len(line)
                yield line
                continue
            if line == "" and time.monotonic() - looked < LOOK_S:
                continue
            looked = time.monotonic()  # nothing came for a while, or the tail has ended: with the job, or broken off
            try:
                has_ended = self.job(job_id).status.is_terminal()
                if has_ended:
                    yield from lines_of(self.logs(job_id)[seen:])
                    return
                answered = time.monotonic()
            except ConfigError as error:
                if time.monotonic() - answered > LOST_S:
                    raise Interrupted(f"{error}; start a cluster, and the same command goes on there") from None
                time.sleep(1.0)
            if line is None:
                time.sleep(0.3)
                lines = self._tail(job_id, seen)

    def _tail(self, job_id: str, skip: int) -> "queue.Queue[str | None]":
        """Return a queue that a thread fills with the log's lines from character ``skip`` on, and None at the end."""
        lines: queue.Queue[str | None] = queue.Queue()

        async def read() -> None:
            kept, seen = "", 0
            async for text in self._client.tail_job_logs(job_id):
                *whole, kept = (kept + text).split("\n")
                for line in whole:
                    if seen >= skip:
                        lines.put(line + "\n")
                    seen += len(line) + 1

        def run() -> None:
            with suppress(Exception):  # the follower asks for the job's state, and tails again
                asyncio.run(read())
            lines.put(None)

        threading.Thread(target=run, daemon=True).start()
        return lines


def lines_of(text: str) -> list[str]:
    """Return lines with their ends. ``splitlines`` would also split at ``MARK``.

    >>> lines_of("one\\ntwo")
    ['one\\n', 'two']
    """
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def exit_code(job: Any) -> int:
    """Return the exit code of a job's command, or 75 if the job was stopped or its node died."""
    if job.status == "SUCCEEDED":
        return 0
    if job.status == "FAILED" and job.driver_exit_code is not None and job.driver_exit_code > 0:
        return int(job.driver_exit_code)
    return EXIT_INTERRUPTED


def is_chatter(line: str) -> bool:
    """Return whether Ray itself wrote a line of a log, which then says nothing about the command."""
    return line.startswith(CHATTER) or line.endswith("Runtime env is setting up.\n")


def _line(error: BaseException) -> str:
    text = masked(" ".join(str(error).split()))
    return text if len(text) < 300 else f"{text[:300]} ..."
