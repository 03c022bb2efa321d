"A web server on this machine that misbehaves as told, for the tests of downloads."

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    "What to send for one address."

    body: bytes
    status: int = 200
    headers: dict = field(default_factory=dict)
    cut: int | None = None  # close the connection after so many bytes of the body
    ranges: bool = True  # answer a Range request with the rest of the body
    length: bool = True  # say how long the body is
    hold: threading.Event | None = None  # wait for this after `cut` bytes, then send the rest
    talk: Callable | None = None  # writes to the connection itself, instead of all this


class Server:
    "Serves `answers` (address to `Answer`) on a free port of 127.0.0.1, and notes each request in `seen`."

    def __enter__(self):
        self.answers, self.seen = {}, []  # seen: (address, Range header or None)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.seen.append((self.path, self.headers.get("Range")))
                server._answer(self, server.answers.get(self.path, Answer(b"nothing here", 404)))

            def log_message(self, *args):
                "Say nothing."

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._httpd.server_port}"
        threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self):
        "Answer no more: the port is closed."
        self._httpd.shutdown()
        self._httpd.server_close()

    def put(self, address, body, **how):
        "Serve `body` at `address`; returns its whole URL."
        self.answers[address] = Answer(body, **how)
        return self.url + address

    def _answer(self, request, answer):
        if answer.talk:
            with contextlib.suppress(OSError):  # the other side may leave at any moment
                answer.talk(request.wfile)
            request.close_connection = True
            return
        body, status, headers = answer.body, answer.status, dict(answer.headers)
        asked = request.headers.get("Range")
        if status == 200 and asked and answer.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                body, status = b"", 416
            else:
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body, status = body[start:], 206
        request.send_response(status)
        if answer.length:
            headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[: answer.cut])
        if answer.hold:
            request.wfile.flush()
            answer.hold.wait(30)
            request.wfile.write(body[answer.cut :])
        request.close_connection = True
