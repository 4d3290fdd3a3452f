"""An object store on loopback: as much of S3's protocol as Arrow speaks. It keeps objects in memory.

Written by AWS's API reference; requests that are not known are answered with 501, so that nothing passes by chance.
"""

import hashlib
import io
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

KEY, SECRET, BUCKET = "loopback-key", "loopback+secret", "bucket"


class S3Server(ThreadingHTTPServer):
    """One bucket, of one user; ``requests`` has the method and key of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuses = ""  # a method, or "UploadPart": denied from now on
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.query = f"?endpoint_override={self.endpoint}&scheme=http&region=us-east-1"

    def uri(self, path: str, *, user: str = f"{KEY}:loopback%2Bsecret@", bucket: str = BUCKET) -> str:
        return f"s3://{user}{bucket}/{path}{self.query}"

    def put(self, key: str, content: bytes) -> None:
        self.objects[key] = (content, time.time())

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))


@contextmanager
def serving() -> Iterator[S3Server]:
    with S3Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, self.key = unquote(parts.path).lstrip("/").partition("/")
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = _unchunked(self.rfile)
        else:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):  # the SDK's own chunks, within HTTP's
            self.body = _unchunked(io.BytesIO(self.body))
        self.server.requests.append((self.command, self.key))
        if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            return self._fail(403, "AccessDenied", "Access Denied")
        if bucket != BUCKET:
            return self._fail(404, "NoSuchBucket", "The specified bucket does not exist")
        if self.server.refuses == ("UploadPart" if "partNumber" in self.query else self.command):
            return self._fail(403, "AccessDenied", "Access Denied")
        return self._act()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def _act(self) -> None:
        objects, uploads, upload = self.server.objects, self.server.uploads, self.query.get("uploadId")
        if self.command == "GET" and not self.key:
            return self._list()
        if self.command == "HEAD" and not self.key:
            return self._send(200)
        if self.command in ("GET", "HEAD"):
            return self._get()
        if self.command == "PUT" and upload:
            uploads[upload][int(self.query["partNumber"])] = self.body
            return self._send(200, headers={"ETag": '"part"'})
        if self.command == "PUT" and (source := self.headers.get("x-amz-copy-source")):
            copied = objects.get(unquote(source).lstrip("/").partition("/")[2])
            if copied is None:
                return self._fail(404, "NoSuchKey", "The specified key does not exist.")
            self.server.put(self.key, copied[0])
            return self._send(200, "<CopyObjectResult><ETag>&quot;x&quot;</ETag></CopyObjectResult>")
        if self.command == "PUT":
            self.server.put(self.key, self.body)
            return self._send(200, headers={"ETag": '"x"'})
        if self.command == "POST" and "delete" in self.query:
            for key in re.findall(r"<Key>(.*?)</Key>", self.body.decode()):
                objects.pop(unescape(key), None)
            return self._send(200, "<DeleteResult></DeleteResult>")
        if self.command == "POST" and "uploads" in self.query:
            upload = f"upload-{len(uploads)}"
            uploads[upload] = {}
            tag = "InitiateMultipartUploadResult"
            return self._send(200, f"<{tag}><UploadId>{upload}</UploadId></{tag}>")
        if self.command == "POST" and upload:
            self.server.put(self.key, b"".join(part for _, part in sorted(uploads.pop(upload).items())))
            tag = "CompleteMultipartUploadResult"
            return self._send(200, f"<{tag}><ETag>x</ETag></{tag}>")
        if self.command == "DELETE":
            uploads.pop(upload or "", None) if upload else objects.pop(self.key, None)
            return self._send(204)
        return self._fail(501, "NotImplemented", f"{self.command} {self.path}")

    def _get(self) -> None:
        if self.key not in self.server.objects:
            return self._fail(404, "NoSuchKey", "The specified key does not exist.")
        content, changed = self.server.objects[self.key]
        headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"', "Last-Modified": formatdate(changed, usegmt=True)}
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1, len(content)) if last else len(content)
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(content)}"
            return self._send(206, content[int(first) : stop], headers)
        return self._send(200, content, headers)

    def _list(self) -> None:
        """Two names a page, so that nothing works with one page only."""
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        names: dict[str, str] = {}
        for key in self.server.keys(prefix):
            rest = key.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folder = prefix + rest.partition(delimiter)[0] + delimiter
                names[folder] = f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            else:
                content, changed = self.server.objects[key]
                moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(changed))
                names[key] = (
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                    f"<LastModified>{moment}</LastModified></Contents>"
                )
        after = sorted(name for name in names if name > self.query.get("continuation-token", ""))
        page = after[: min(2, int(self.query.get("max-keys", 2)))]
        more = len(after) > len(page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        entries = "".join(names[name] for name in page)
        self._send(
            200,
            f"<ListBucketResult><Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>",
        )

    def _fail(self, status: int, code: str, text: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>")

    def _send(self, status: int, body: bytes | str = b"", headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _unchunked(stream: Any) -> bytes:
    """Content of ``size;anything CRLF bytes CRLF ... 0 CRLF trailers CRLF``."""
    content = []
    while size := int(stream.readline().partition(b";")[0], 16):
        content.append(stream.read(size))
        stream.readline()
    while stream.readline().strip():
        pass
    return b"".join(content)
