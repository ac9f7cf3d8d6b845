"""A bucket in PubMed Central's layout on a real S3 server (moto's) on 127.0.0.1, and a proxy that makes it misbehave."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

BUCKET = "pmc-oa-opendata"
REPORTS = f"inventory-reports/{BUCKET}/metadata"
SCHEMA = "Bucket, Key, LastModifiedDate, ETag"

#: method, key, how often this was asked before -> "" to pass on, a status such as "503", or a fault by name
Rule = Callable[[str, str, int], str]


@contextmanager
def moto_server() -> Iterator[str]:
    """The server's address."""
    WSGIRequestHandler.log_request = lambda *_, **__: None  # type: ignore[method-assign]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class PmcBucket:
    """What PubMed Central would do: add, change and remove articles, and publish an inventory once a day."""

    def __init__(self, endpoint: str, name: str = BUCKET) -> None:
        self.endpoint = endpoint
        self.name = name
        self._client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        self._client.create_bucket(Bucket=name, ACL="public-read")
        self.metadata: dict[str, tuple[str, str]] = {}

    def write(self, key: str, data: bytes) -> str:
        answer = self._client.put_object(Bucket=self.name, Key=key, Body=data, ACL="public-read")
        return str(answer["ETag"]).strip('"')

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._client.delete_object(Bucket=self.name, Key=key)

    def put(self, number: int, version: int = 1, xml: str | None = None, day: str = "2026-01-01", **facts: Any) -> None:
        """An article version with its metadata; ``xml`` None leaves the XML as it is, facts replace the usual ones."""
        stem = f"PMC{number}.{version}"
        if xml is not None:
            self.write(f"{stem}/{stem}.xml", xml.encode())
        md5 = self._client.head_object(Bucket=self.name, Key=f"{stem}/{stem}.xml")["ETag"].strip('"')
        fields = {
            "pmcid": f"PMC{number}",
            "version": version,
            "pmid": number + 10,
            "doi": f"10.5555/made.up.{number}",
            "is_pmc_openaccess": True,
            "is_manuscript": False,
            "is_historical_ocr": False,
            "is_retracted": False,
            "license_code": "CC BY",
            "xml_url": f"s3://{BUCKET}/{stem}/{stem}.xml?md5={md5}",
        } | facts
        key = f"metadata/{stem}.json"
        self.metadata[key] = (f"{day}T00:00:00.000Z", self.write(key, json.dumps(fields).encode()))

    def remove(self, number: int, version: int = 1) -> None:
        stem = f"PMC{number}.{version}"
        self.delete(f"metadata/{stem}.json", f"{stem}/{stem}.xml")
        self.metadata.pop(f"metadata/{stem}.json", None)

    def publish(self, day: str, schema: str = SCHEMA, files: int = 2, md5: str = "") -> None:
        """An inventory of the metadata as it is."""
        columns = [column.strip() for column in schema.split(",")]
        lines = []
        for key, (modified, etag) in sorted(self.metadata.items()):
            values = {"Bucket": self.name, "Key": key, "LastModifiedDate": modified, "ETag": etag}
            lines.append(",".join(f'"{values.get(column, "x")}"' for column in columns) + "\n")
        listed = []
        for part in range(files):
            key = f"{REPORTS}/data/{day}-{part}.csv.gz"
            data = gzip.compress("".join(lines[part::files]).encode())
            self.write(key, data)
            listed.append({"key": key, "size": len(data), "MD5checksum": md5 or hashlib.md5(data).hexdigest()})
        created = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
        manifest = {
            "sourceBucket": BUCKET,
            "version": "2016-11-30",
            "creationTimestamp": str(int(created * 1000)),
            "fileFormat": "CSV",
            "fileSchema": schema,
            "files": listed,
        }
        self.write(f"{REPORTS}/{day}T01-00Z/manifest.json", json.dumps(manifest).encode())
        self.write(f"{REPORTS}/hive/dt={day}/symlink.txt", b"")


class Proxy:
    """Passes requests on, counts them by key, and does to them what ``rule`` says."""

    def __init__(self, target: str, bucket: str) -> None:
        self.bucket = bucket
        self.rule: Rule = lambda method, key, before: ""
        self.asked: Counter[str] = Counter()
        self._counting = threading.Lock()
        parts = urlsplit(target)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._answer(self, parts.hostname or "", parts.port or 80)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """Clients that were killed are part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fetched(self, start: str) -> int:
        """How often objects whose key starts so were asked for."""
        with self._counting:  # while others come
            return sum(number for key, number in self.asked.items() if key.startswith(start))

    def _answer(self, request: BaseHTTPRequestHandler, host: str, port: int) -> None:
        key = unquote(request.path.partition("?")[0]).removeprefix(f"/{self.bucket}").lstrip("/")
        with self._counting:
            before = self.asked[key]
            self.asked[key] += 1
        fault = self.rule(request.command, key, before)
        if fault.isdigit():
            _reply(request, int(fault), {}, b"")
            return
        connection = http.client.HTTPConnection(host, port, timeout=120)
        connection.request(request.command, request.path, headers={k: v for k, v in request.headers.items() if k != "Host"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if fault == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        headers = {name.lower(): value for name, value in answer.getheaders() if name.lower() in _PASSED}
        if request.command == "GET":
            headers["content-length"] = str(len(body))
        _reply(request, answer.status, headers, body[: len(body) // 2] if fault == "truncate" else body)
        if fault == "truncate":
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True


_PASSED = ("etag", "last-modified", "content-type", "content-length", "content-range", "accept-ranges")


def _reply(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    if "content-length" not in headers:
        request.send_header("content-length", str(len(body)))
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)
        request.wfile.flush()
