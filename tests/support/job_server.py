"""A job server as `s2m submit` meets it, without a cluster behind it: a script of states and log lines."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JobServer(ThreadingHTTPServer):
    """Answers as Ray's does. A job runs for ``runs_s``, then it is ``status`` with ``exit_code``."""

    daemon_threads = True

    def __init__(
        self,
        *,
        token: str = "",
        status: str = "SUCCEEDED",
        exit_code: int | None = 0,
        log: str = "",
        runs_s: float = 0.3,
        hosts: tuple[str, ...] = ("127.0.0.1",),
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token, self.status, self.exit_code, self.log = token, status, exit_code, log
        self.runs_s, self.hosts = runs_s, hosts
        self.requests: list[dict[str, Any]] = []
        self.packages: dict[str, bytes] = {}
        self.began = 0.0
        self.stopped = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def job(self) -> dict[str, Any]:
        ended = self.stopped or time.monotonic() - self.began > self.runs_s
        request = self.requests[-1]
        return {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": request["submission_id"],
            "driver_info": None,
            "status": ("STOPPED" if self.stopped else self.status) if ended else "RUNNING",
            "entrypoint": request["entrypoint"],
            "message": "",
            "error_type": None,
            "start_time": 1000,
            "end_time": 2000 if ended else None,
            "metadata": request["metadata"],
            "runtime_env": request["runtime_env"],
            "driver_agent_http_address": None,
            "driver_node_id": None,
            "driver_exit_code": self.exit_code if ended and not self.stopped else None,
        }


class _Handler(BaseHTTPRequestHandler):
    server: JobServer

    def do_GET(self) -> None:
        path, jobs = self.path.partition("?")[0], self.server.requests
        if path == "/api/version":
            self._say({"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "x"})
        elif self._is_stranger():
            return
        elif path == "/api/jobs/":
            self._say([self.server.job()] if jobs else [])
        elif path.startswith("/api/packages/"):
            self._say({}, 200 if path in self.server.packages else 404)
        elif path == "/api/v0/nodes":
            rows = [{"node_ip": host, "state": "ALIVE"} for host in self.server.hosts]
            self._say({"data": {"result": {"result": rows}}})
        elif not jobs or jobs[-1]["submission_id"] not in path:
            self._say_text(f"Job {path} does not exist", 404)
        elif path.endswith("/logs"):
            self._say({"logs": self.server.log})
        elif path.endswith("/tail"):
            self._say({}, 500)  # no websocket: the whole log is read at the end
        else:
            self._say(self.server.job())

    def do_PUT(self) -> None:
        self.server.packages[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_stranger():
            self._say({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._is_stranger():
            return
        if self.path.endswith("/stop"):
            self.server.stopped = True
            self._say({"stopped": True})
            return
        self.server.requests.append(json.loads(body))
        self.server.began = time.monotonic()
        self._say(
            {
                "job_id": self.server.requests[-1]["submission_id"],
                "submission_id": self.server.requests[-1]["submission_id"],
            }
        )

    def _is_stranger(self) -> bool:
        given = self.headers.get("Authorization", "")
        if not self.server.token or given == f"Bearer {self.server.token}":
            return False
        self._say_text("Unauthorized: Missing authentication token", 401 if not given else 403)
        return True

    def _say(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json; charset=utf-8", status)

    def _say_text(self, text: str, status: int) -> None:
        self._send(text.encode(), "text/plain", status)

    def _send(self, body: bytes, kind: str, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(**script: Any) -> Iterator[JobServer]:
    """A server while the block runs."""
    server = JobServer(**script)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
