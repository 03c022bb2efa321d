"Data sets: what each returns, and downloads from a server that misbehaves on purpose."

import errno
import gzip
import hashlib
import io
import itertools
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import cnncourse
from hypothesis import given, settings
from hypothesis import strategies as st
from local_server import Server
from PIL import Image

from cnncourse import datasets
from cnncourse.datasets import Data, DataError, fetch, from_folder, load, photograph, shapes

BODY = bytes(range(256)) * 1000  # longer than one read of the downloader
OTHER = BODY[::-1]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    "No mirror, a cache of one's own, and no proxy between a test and its server."
    monkeypatch.delenv("CNNCOURSE_MIRROR", raising=False)
    monkeypatch.setenv("CNNCOURSE_CACHE", str(tmp_path / "cache"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    "Where the file shall be; its folder does not exist yet."
    return tmp_path / "set" / "file.bin"


def beside(target):
    "What lies in the target's folder, but for the lock."
    return sorted(p.name for p in target.parent.iterdir() if p.suffix != ".lock")


def refused(match, call, *args, **kwargs):
    "The DataError that `call` raises: one sentence, and nothing from deep inside."
    with pytest.raises(DataError, match=match) as caught:
        call(*args, **kwargs)
    assert caught.value.__cause__ is None and (caught.value.__suppress_context__ or caught.value.__context__ is None)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    return str(caught.value)


# The good file


def test_good_file_is_fetched_once(server, target):
    url = server.put("/file.bin", BODY)
    assert fetch(url, target, sha256(BODY)) == target
    assert target.read_bytes() == BODY
    assert beside(target) == ["file.bin"]
    fetch(url, target, sha256(BODY))
    assert len(server.seen) == 1


def test_force_fetches_again(server, target):
    url = server.put("/file.bin", BODY)
    fetch(url, target, sha256(BODY))
    fetch(url, target, sha256(BODY), force=True)
    assert len(server.seen) == 2 and target.read_bytes() == BODY


def test_redirect_is_followed(server, target):
    server.put("/new/file.bin", BODY)
    url = server.put("/old/file.bin", b"", status=302, headers={"Location": "/new/file.bin"})
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY


def test_bytes_are_kept_as_they_are(server, target):
    "A server that calls a .gz file an encoding must not make us unpack it."
    packed = gzip.compress(BODY)
    url = server.put("/file.gz", packed, headers={"Content-Encoding": "gzip"})
    assert fetch(url, target, sha256(packed)).read_bytes() == packed


def test_unknown_length(server, target):
    seen = []
    url = server.put("/file.bin", BODY, length=False)
    fetch(url, target, sha256(BODY), progress=lambda have, total: seen.append((have, total)))
    assert target.read_bytes() == BODY and seen[-1] == (len(BODY), None)


def test_progress(server, target):
    seen = []
    fetch(server.put("/file.bin", BODY), target, sha256(BODY), progress=lambda have, total: seen.append((have, total)))
    have, total = zip(*seen, strict=True)
    assert sorted(have) == list(have) and have[-1] == len(BODY) and set(total) == {len(BODY)}


# Errors of the server and of the network


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (404, "Not Found"), (500, "Internal Server Error")])
def test_http_error_is_never_data(server, target, status, reason):
    page = b"<html>sorry</html>"
    url = server.put("/file.bin", page, status=status)
    message = refused(f"answered {status} {reason}", fetch, url, target, sha256(page), title="Set", instead="digits")
    assert message.startswith("Set cannot be downloaded (") and "offline set 'digits'" in message
    assert beside(target) == []


def test_login_page_is_not_data(server, target):
    url = server.put("/file.bin", b"<html>please log in</html>")
    refused("sent another file: its SHA-256 is", fetch, url, target, sha256(BODY))
    assert beside(target) == []


def test_no_network(server, target):
    url = server.put("/file.bin", BODY)
    server.stop()
    message = refused("no network: 127.0.0.1", fetch, url, target, sha256(BODY), title="MNIST", instead="digits")
    assert message.endswith("use the offline set 'digits' instead, which needs no download.")


def test_no_answer_in_time(server, target, monkeypatch):
    monkeypatch.setattr(datasets, "_TIMEOUT", (5, 0.2))
    release = threading.Event()
    url = server.put("/file.bin", BODY, cut=1000, hold=release)
    refused("did not answer within 0.2 seconds", fetch, url, target, sha256(BODY))
    release.set()


BAD_ADDRESSES = ["nonsense", "ftp://127.0.0.1/file", "file:///etc/passwd", "http://", "http://[::1", "http://a..b/"]
BAD_ADDRESSES += [
    "http://host:port/",
    "http://host:99999/",
    "http://host\\x/",
    "http://ho st/",
    f"http://{'a' * 70}.com/",
]
BAD_ADDRESSES += ["http://u:hunter2/x@host:x/", "http://u:hunter2@[::1/", "//host/file", "http://:80/"]


@pytest.mark.parametrize("url", [*BAD_ADDRESSES, "http://host/a\nb", "http://host/\x1b[31m"])
def test_not_an_address(target, url):
    said = refused("is not a usable address.*CNNCOURSE_MIRROR", fetch, url, target, sha256(BODY))
    assert "correct CNNCOURSE_MIRROR" not in said and "hunter2" not in said and said.isprintable()


@pytest.mark.parametrize("mirror", BAD_ADDRESSES)
def test_a_mirror_that_is_no_address_is_named(monkeypatch, mirror):
    monkeypatch.setenv("CNNCOURSE_MIRROR", mirror)
    said = refused("CNNCOURSE_MIRROR is not a usable address.*; correct CNNCOURSE_MIRROR", datasets.download, "mnist")
    assert "hunter2" not in said
    refused("base_url is not a usable address", datasets.download, "mnist", base_url=mirror)


@pytest.mark.parametrize("location", BAD_ADDRESSES)
def test_a_redirect_to_no_address(server, target, location):
    if location.startswith("//") or location in ("nonsense", "http://"):
        return  # these mean another place on some server
    url = server.put("/file.bin", b"", status=302, headers={"Location": location})
    said = refused("127.0.0.1:.* sent us on to what is no usable address", fetch, url, target, sha256(BODY))
    assert "MIRROR" not in said and "hunter2" not in said


def test_a_redirect_that_goes_round(server, target):
    url = server.put("/file.bin", b"", status=302, headers={"Location": "/login"})
    server.put("/login", b"", status=307, headers={"Location": "/file.bin"})
    said = refused("sends us round in circles.*login", fetch, url, target, sha256(BODY))
    assert "MIRROR" not in said and len(server.seen) <= 10


def test_the_server_that_failed_is_named_after_a_redirect(server, target):
    with Server() as other:
        url = server.put("/file.bin", b"", status=302, headers={"Location": other.url + "/gone"})
        host = other.url.removeprefix("http://")
        refused(
            f"{host}, to which {server.url.removeprefix('http://')} led, answered 404", fetch, url, target, sha256(BODY)
        )


SECRETS = ["http://user:hunter2@{}/", "http://hunter2@{}/", "http://{}/hunter2/", "http://{}/?token=hunter2&f="]


@pytest.mark.parametrize("form", SECRETS)
@pytest.mark.parametrize(
    "answer", [{"status": 404}, {}, {"cut": 5}, {"status": 302, "headers": {"Location": "http://["}}]
)
def test_the_secrets_of_a_mirror_are_never_told(server, monkeypatch, form, answer, caplog):
    mirror = form.format(server.url.removeprefix("http://"))
    path = mirror.split(server.url.removeprefix("http://"))[1].rstrip("/") + "/mnist/mnist.npz"
    server.put(path, b"something else", **answer)
    monkeypatch.setenv("CNNCOURSE_MIRROR", mirror)
    for gone in (False, True):
        if gone:
            server.stop()
        said = refused(server.url.removeprefix("http://"), datasets.download, "mnist")
        assert "hunter2" not in said + caplog.text and "user" not in said
    assert server.seen


def lines(*parts):
    "Bytes that are sent as they are, whatever HTTP may say."
    return lambda connection: [connection.write(part) for part in parts]


def endless(connection):
    connection.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        connection.write(b"x" * (1 << 16))


def drip(head, drop):
    "Send `head`, then `drop` again and again, each before a timeout would be noticed."

    def talk(connection):
        connection.write(head)
        while True:
            connection.write(drop)
            connection.flush()
            time.sleep(0.02)

    return talk


OK = b"HTTP/1.1 200 OK\r\n"
ODD = {
    "no length that is one": (lines(OK + b"Content-Length: abc\r\n\r\n", OTHER), "sent another file"),
    "two lengths": (lines(OK + b"Content-Length: 9, 8\r\n\r\n", OTHER), "answered what is not HTTP"),
    "the same length twice": (lines(OK + b"Content-Length: 256000, 256000\r\n\r\n", OTHER), "sent another file"),
    "negative": (lines(OK + b"Content-Length: -5\r\n\r\n", OTHER), "sent another file"),
    "too short": (lines(OK + b"Content-Length: 3\r\n\r\n", OTHER), "sent another file"),
    "too long": (lines(OK + b"Content-Length: 256001\r\n\r\n", OTHER), "256,001 bytes instead of 256,000"),
    "absurd": (lines(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", OTHER), "bytes instead of 256,000"),
    "endless": (endless, "more than the 256,000 bytes"),
    "a part nobody asked for": (
        lines(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-255999/256000\r\n\r\n", OTHER),
        "sent another file",
    ),
    "another part": (
        lines(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-255999/256000\r\n\r\n", BODY[5:]),
        "sent another file",
    ),
    "nothing": (lines(b"HTTP/1.1 204 No Content\r\n\r\n"), "answered 204 No Content"),
    "not modified": (lines(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "answered 304"),
    "sent on to nowhere": (lines(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), "answered 302"),
    "range refused": (lines(b"HTTP/1.1 416 Range\r\nContent-Length: 0\r\n\r\n"), "answered 416"),
    "escape codes": (lines(b"HTTP/1.1 500 \x1b[2J\x1b]0;owned\x07" + b"a" * 500 + b"\r\n\r\n"), "answered 500"),
    "a login page": (lines(OK + b"\r\n <!DOCTYPE html><html>log in"), "it is a web page.*log in to your network"),
    "packed": (lines(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(OTHER)), "sent another file"),
    "packed, says it": (lines(OK + b"Content-Encoding: gzip\r\n\r\n", b"no gzip"), "sent another file"),
    "broken chunks": (lines(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", OTHER), "broke off"),
    "no HTTP": (lines(b"220 mail.example.org ESMTP\r\n"), "does not speak HTTP"),
    "many headers": (lines(OK, *[b"X: y\r\n"] * 200, b"\r\n"), "does not speak HTTP"),
    "at once gone": (lines(b""), "broke off the connection"),
    "slow body": (drip(OK + b"\r\n", b"x"), "sent less than 64 KiB in 0.5 seconds"),
    "slow headers": (drip(OK, b"X: y\r\n"), "sent less than 64 KiB|does not speak HTTP"),
    "slow status": (drip(b"HTTP/1.1 200 ", b"O"), "sent less than 64 KiB in 0.5 seconds"),
    "go on, go on": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "sent less than 64 KiB in 0.5 seconds"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("begun", [0, 1000, len(BODY) + 10])
def test_whatever_a_server_answers_there_is_an_end_and_a_sentence(server, target, monkeypatch, kind, begun):
    monkeypatch.setattr(datasets, "_PATIENCE", 0.5)
    talk, match = ODD[kind]
    url = server.put("/file.bin", b"", talk=talk)
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(OTHER[:1000] + bytes(max(begun - 1000, 0)) if begun else b"")
    said = refused(match, fetch, url, target, sha256(BODY), size=len(BODY), title="Set", instead="digits")
    assert said.startswith("Set cannot be downloaded (") and "offline set 'digits'" in said
    assert said.isprintable() and len(said) < 400 and "MIRROR" not in said
    assert len(server.seen) <= 3 and not target.exists()
    server.put("/file.bin", BODY)  # afterwards all is well
    assert fetch(url, target, sha256(BODY), size=len(BODY)).read_bytes() == BODY and beside(target) == ["file.bin"]


def test_a_file_of_unknown_size_has_a_limit_too(server, target, monkeypatch):
    monkeypatch.setattr(datasets, "_MOST", 1 << 20)
    refused("sent another file", fetch, server.put("/file.bin", b"", talk=endless), target, sha256(BODY))
    assert beside(target) == []


def test_a_server_that_promises_too_much_but_sends_all(server, target):
    url = server.put("/file.bin", BODY, headers={"Content-Length": "256001"})
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY


def test_untrusted_certificate(target, monkeypatch):
    import requests

    def refuse(*args, **kwargs):
        raise requests.exceptions.SSLError("self-signed certificate")

    monkeypatch.setattr(requests, "get", refuse)
    refused("certificate of example.org is not trusted", fetch, "https://example.org/a", target, sha256(BODY))


# Interrupted and resumed


def test_truncated_file_is_resumed(server, target):
    url = server.put("/file.bin", BODY, cut=100_000)
    message = refused("broke off after 100,000 bytes", fetch, url, target, sha256(BODY))
    assert "run this again to go on from there" in message
    assert beside(target) == ["file.bin.part"]
    server.put("/file.bin", BODY)
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY
    assert server.seen == [("/file.bin", None), ("/file.bin", "bytes=100000-")]
    assert beside(target) == ["file.bin"]


def test_truncated_many_times(server, target):
    url, tries = server.put("/file.bin", BODY, cut=60_000), 0
    while not target.exists():
        tries += 1
        try:
            fetch(url, target, sha256(BODY))
        except DataError as error:
            assert "broke off" in str(error)
    assert tries == -(-len(BODY) // 60_000) and target.read_bytes() == BODY


def test_truncated_without_length_is_noticed(server, target):
    url = server.put("/file.bin", BODY, cut=1000, length=False)
    refused("sent another file", fetch, url, target, sha256(BODY))
    assert beside(target) == []


def test_progress_goes_on_after_a_resume(server, target):
    seen = []
    url = server.put("/file.bin", BODY)
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(BODY[:200_000])
    fetch(url, target, sha256(BODY), progress=lambda have, total: seen.append((have, total)))
    assert seen[0][0] > 200_000 and seen[-1] == (len(BODY), len(BODY))


def test_server_that_cannot_resume(server, target):
    url = server.put("/file.bin", BODY, cut=1000, ranges=False)
    refused("broke off", fetch, url, target, sha256(BODY))
    server.put("/file.bin", BODY, ranges=False)
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY


def test_file_that_changed_between_two_tries(server, target):
    url = server.put("/file.bin", OTHER, cut=1000)
    refused("broke off", fetch, url, target, sha256(BODY))
    server.put("/file.bin", BODY)
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY
    assert [asked for _, asked in server.seen] == [None, "bytes=1000-", None]


def test_leftover_that_is_too_long(server, target):
    url = server.put("/file.bin", BODY)
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(BODY + b"more")
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY
    assert beside(target) == ["file.bin"]


def test_leftover_that_is_whole_needs_no_request(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(BODY)
    assert fetch(server.url + "/gone", target, sha256(BODY)).read_bytes() == BODY
    assert server.seen == []


def test_stopped_by_the_user_is_resumed(server, target):
    url = server.put("/file.bin", BODY)

    def stop(have, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(url, target, sha256(BODY), progress=stop)
    received = target.with_name("file.bin.part").stat().st_size
    assert 0 < received < len(BODY) and not target.exists()
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY
    assert server.seen[-1] == ("/file.bin", f"bytes={received}-")


PROGRAM = """
import sys, filelock
from cnncourse.datasets import fetch

class Told(filelock.FileLock):
    def acquire(self, *args, **kwargs):
        print("lock", flush=True)
        return super().acquire(*args, **kwargs)

filelock.FileLock = Told
url, path, sha256 = sys.argv[1:]
fetch(url, path, sha256, progress=lambda have, total: print(have, flush=True))
print("done", flush=True)
"""


def program(url, target):
    "Another process that fetches a file; it prints lock when it asks for the lock, then the bytes so far, then done."
    command = [sys.executable, "-c", PROGRAM, url, str(target), sha256(BODY)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_process_leaves_nothing_half_written(server, target):
    release = threading.Event()
    url = server.put("/file.bin", BODY, cut=150_000, hold=release)
    with program(url, target) as process:
        lines = (int(line) for line in process.stdout if line.strip().isdigit())
        next(have for have in lines if have >= 65_536)
        process.send_signal(signal.SIGKILL)
    release.set()
    received = target.with_name("file.bin.part").stat().st_size
    assert process.returncode == -signal.SIGKILL and beside(target) == ["file.bin.part"]
    server.put("/file.bin", BODY)
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY
    assert server.seen[-1] == ("/file.bin", f"bytes={received}-" if received else None)


def test_two_processes_at_once(server, target):
    release = threading.Event()
    url = server.put("/file.bin", BODY, cut=100_000, hold=release)
    with program(url, target) as one:
        assert [one.stdout.readline(), one.stdout.readline()] == ["lock\n", "65536\n"]  # it holds the lock
        with program(url, target) as two:
            assert two.stdout.readline() == "lock\n"
            release.set()
            assert one.stdout.read().split()[-1] == "done"
            assert two.stdout.read().split() == ["done"]
    assert (one.returncode, two.returncode) == (0, 0)
    assert len(server.seen) == 1 and target.read_bytes() == BODY and beside(target) == ["file.bin"]


# The cache and the disk


def test_damaged_cache_entry_is_replaced(server, target):
    target.parent.mkdir()
    target.write_bytes(BODY[:-1] + b"!")
    assert fetch(server.put("/file.bin", BODY), target, sha256(BODY)).read_bytes() == BODY


@pytest.mark.parametrize("answer", [{"status": 500}, {"cut": 1000}, {}])
def test_failed_replacement_loses_nothing(server, target, answer):
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    refused("cannot be downloaded", fetch, server.put("/file.bin", OTHER, **answer), target, sha256(BODY))
    assert target.read_bytes() == b"damaged"


def test_failed_force_keeps_the_good_file(server, target):
    url = server.put("/file.bin", BODY)
    fetch(url, target, sha256(BODY))
    server.put("/file.bin", OTHER)
    refused("sent another file", fetch, url, target, sha256(BODY), force=True)
    assert target.read_bytes() == BODY


def test_no_space_while_writing(server, target, monkeypatch):
    "A disk that is full after 100,000 bytes; when there is room again, the download goes on from there."
    url = server.put("/file.bin", BODY)

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 100_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(
            datasets, "open", lambda path, mode: io.FileIO(path) if mode == "rb" else Full(path, mode), raising=False
        )
        message = refused("no space left on the disk", fetch, url, target, sha256(BODY))
    assert str(target.parent) in message and "CNNCOURSE_CACHE" in message
    assert beside(target) == ["file.bin.part"]
    received = target.with_name("file.bin.part").stat().st_size
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY
    assert server.seen[-1] == ("/file.bin", f"bytes={received}-") and 0 < received <= 100_000


def test_no_space_is_seen_before_writing(server, target):
    url = server.put("/file.bin", BODY, headers={"Content-Length": str(10**18)})
    refused("no space left on the disk", fetch, url, target, sha256(BODY))
    assert beside(target) == []


@pytest.fixture
def locked(tmp_path):
    "A folder that this process may read but not write to; root gives up its rights for the while."
    folder = tmp_path / "locked"
    folder.mkdir()
    (tmp_path / "read").write_bytes(BODY)
    fetch("http://127.0.0.1", tmp_path / "read", sha256(BODY))  # imports now what root alone may read
    root = os.geteuid() == 0
    opened = [p for p in (tmp_path, *tmp_path.parents) if root and not p.stat().st_mode & 1]  # closed to others
    before = [p.stat().st_mode for p in opened]
    for p in opened:
        p.chmod(0o755)
    yield folder, (lambda: os.seteuid(65534)) if root else (lambda: folder.chmod(0o555))
    os.seteuid(0) if root else folder.chmod(0o755)
    for p, mode in zip(opened, before, strict=True):
        p.chmod(mode)


def test_no_permission_to_write(server, locked):
    folder, give_up = locked
    url = server.put("/file.bin", BODY)
    give_up()
    message = refused("cannot be used: Permission denied", fetch, url, folder / "set" / "file.bin", sha256(BODY))
    assert "set CNNCOURSE_CACHE to a folder that you may write to" in message


def test_good_file_in_a_folder_without_permission(server, locked):
    "A teacher's read-only cache serves everyone: no lock is needed to read it."
    folder, give_up = locked
    (folder / "file.bin").write_bytes(BODY)
    give_up()
    assert fetch(server.url + "/gone", folder / "file.bin", sha256(BODY)).read_bytes() == BODY


def test_cache_is_a_file(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    url = server.put("/file.bin", BODY)
    refused("cannot be used", fetch, url, tmp_path / "file" / "file.bin", sha256(BODY))


def test_any_other_fault_of_the_disk(server, target, monkeypatch):
    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    url = server.put("/file.bin", BODY)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        refused("cannot be used: Input/output error", fetch, url, target, sha256(BODY))
    assert fetch(url, target, sha256(BODY)).read_bytes() == BODY
    assert len(server.seen) == 1, "the bytes were not lost"


# The famous sets, in small


def small_mnist(rng):
    x, y = rng.integers(0, 256, (30, 28, 28), np.uint8), np.arange(30, dtype=np.uint8) % 10
    file = io.BytesIO()
    np.savez(file, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    return {"mnist.npz": file.getvalue()}, x[:, None], y


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


def small_fashion_mnist(rng):
    x, y = rng.integers(0, 256, (30, 28, 28), np.uint8), np.arange(30, dtype=np.uint8) % 10
    files = {
        "train-images-idx3-ubyte.gz": idx(x[:20]),
        "train-labels-idx1-ubyte.gz": idx(y[:20]),
        "t10k-images-idx3-ubyte.gz": idx(x[20:]),
        "t10k-labels-idx1-ubyte.gz": idx(y[20:]),
    }
    return files, x[:, None], y


def small_cifar10(rng):
    x, y = rng.integers(0, 256, (30, 3, 32, 32), np.uint8), np.arange(30, dtype=np.uint8) % 10
    records = np.concatenate([y[:, None], x.reshape(30, -1)], axis=1)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, part in zip(
            [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
            [*np.split(records[:20], 5), records[20:]],
            strict=True,
        ):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size = part.nbytes
            archive.addfile(entry, io.BytesIO(part.tobytes()))
    return {"cifar-10-binary.tar.gz": file.getvalue()}, x, y


SMALL = {"mnist": small_mnist, "fashion_mnist": small_fashion_mnist, "cifar10": small_cifar10}


@pytest.fixture
def publish(server, monkeypatch):
    "Serve files as those of an online set, and have the catalogue expect them."

    def published(name, files):
        about = datasets.description(name)
        assert set(files) == {file.name for file in about.files}
        expected = [file._replace(bytes=len(files[file.name]), sha256=sha256(files[file.name])) for file in about.files]
        monkeypatch.setitem(datasets._CATALOGUE, name, replace(about, files=tuple(expected)))
        monkeypatch.setenv("CNNCOURSE_MIRROR", server.url + "/")
        for file, body in files.items():
            server.put(f"/{name}/{file}", body)

    return published


@pytest.mark.parametrize("name", SMALL)
def test_famous_set_is_read_right(publish, name):
    files, x, y = SMALL[name](np.random.default_rng(0))
    publish(name, files)
    data = load(name)
    np.testing.assert_array_equal(data.x_train, x[:20])
    np.testing.assert_array_equal(data.y_train, y[:20])
    np.testing.assert_array_equal(data.x_test, x[20:])
    np.testing.assert_array_equal(data.y_test, y[20:])
    assert len(data.classes) == 10 and data.x_train.shape[1:] == datasets.description(name).shape


@pytest.mark.parametrize("name", SMALL)
def test_part_of_a_famous_set(publish, name):
    files, x, _ = SMALL[name](np.random.default_rng(0))
    publish(name, files)
    data, again, other = (load(name, n_train=10, n_test=5, size=16, seed=seed) for seed in (0, 0, 1))
    assert data.x_train.shape == (10, x.shape[1], 16, 16)
    assert sorted(data.y_train) == list(range(10)), "one picture of each class"
    np.testing.assert_array_equal(data.x_train, again.x_train)
    assert not np.array_equal(data.x_train, other.x_train)
    with pytest.raises(ValueError, match="21 pictures were asked for, but this part of the set has 20"):
        load(name, n_train=21)


def jpeg(colour, size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_cats_and_dogs(publish):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("PetImages/Cat/Thumbs.db", b"no picture")
        for i in range(10):
            archive.writestr(f"PetImages/Cat/{i}.jpg", jpeg((200, 0, 0)) if i else b"")
            archive.writestr(f"PetImages/Dog/{i}.jpg", jpeg((0, 0, 200), (600 + i, 500)))
    publish("cats_dogs", {"kagglecatsanddogs_5340.zip": file.getvalue()})
    data = load("cats_dogs", size=24)
    assert data.classes == ("cat", "dog") and data.x_train.shape[1:] == (3, 24, 24)
    assert len(data.y_train) + len(data.y_test) == 19
    assert [name for name, _ in data.broken] == ["PetImages/Cat/0.jpg"]
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        np.testing.assert_array_equal(x[:, 2].mean(axis=(1, 2)) > 100, y == 1, "dogs are blue here")
    few = load("cats_dogs", n_train=4, n_test=2, gray=True)
    assert few.x_train.shape == (4, 1, 64, 64) and few.x_test.shape == (2, 1, 64, 64)


def test_download_status_and_clear(publish, server, tmp_path):
    files, *_ = small_fashion_mnist(np.random.default_rng(0))
    publish("fashion_mnist", files)
    total, seen = sum(map(len, files.values())), []
    folder = datasets.download("fashion_mnist", progress=lambda have, total: seen.append((have, total)))
    assert folder == tmp_path / "cache" / "fashion_mnist" and seen[-1] == (total, total) and sorted(seen) == seen
    record = {s.name: s for s in datasets.status()}
    assert record["fashion_mnist"].cached and record["fashion_mnist"].bytes == total
    assert not record["mnist"].cached and record["mnist"].bytes == 0 and record["digits"].cached
    datasets.download("fashion_mnist")
    assert len(server.seen) == 4
    datasets.download("fashion_mnist", force=True)
    assert len(server.seen) == 8
    assert datasets.clear("fashion_mnist") == total and not folder.exists() and datasets.clear("fashion_mnist") == 0


def test_clear_says_what_was_removed(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/mnist.npz.part").write_bytes(bytes(3 << 20))
    for name, said in (
        ("mnist", "3.0 MiB removed"),
        ("mnist", "nothing of it was in the cache"),
        ("digits", "it is offline"),
    ):
        done = cnncourse("data", "clear", name, CNNCOURSE_CACHE=str(tmp_path))
        assert done.returncode == 0 and f"{name}: {said}" in done.stdout
    assert not (tmp_path / "mnist").exists()


def test_clear_removes_a_link_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mnist.npz").write_bytes(b"1234")
    (tmp_path / "mnist").symlink_to(tmp_path / "elsewhere")
    assert datasets.clear("mnist", tmp_path) == 4
    assert not (tmp_path / "mnist").is_symlink() and (tmp_path / "elsewhere/mnist.npz").exists()


def test_base_url_and_cache_as_arguments(publish, server, tmp_path, monkeypatch):
    files, x, _ = small_mnist(np.random.default_rng(0))
    publish("mnist", files)
    monkeypatch.setenv("CNNCOURSE_MIRROR", "http://127.0.0.1:9")
    data = load("mnist", base_url=server.url, cache=tmp_path / "elsewhere")
    np.testing.assert_array_equal(data.x_train, x[:20])
    assert (tmp_path / "elsewhere" / "mnist" / "mnist.npz").exists() and not (tmp_path / "cache").exists()


def test_one_cache_is_another_ones_mirror(publish, server, tmp_path):
    "The layout of the cache folder is that of a mirror."
    files, *_ = small_mnist(np.random.default_rng(0))
    publish("mnist", files)
    held = datasets.download("mnist")
    assert [f"/{p.relative_to(tmp_path / 'cache').as_posix()}" for p in held.glob("*.npz")] == [server.seen[0][0]]


def test_clear_without_permission(locked, monkeypatch):
    folder, give_up = locked
    (folder / "mnist").mkdir()
    (folder / "mnist" / "mnist.npz").write_bytes(b"x")
    monkeypatch.setenv("CNNCOURSE_CACHE", str(folder))
    (folder / "mnist").chmod(0o555)
    give_up()
    refused("mnist cannot be used: Permission denied; set CNNCOURSE_CACHE", datasets.clear, "mnist")


def test_status_of_a_cache_that_cannot_be_read(locked, monkeypatch):
    folder, give_up = locked
    (folder / "mnist").mkdir()
    (folder / "mnist").chmod(0)
    monkeypatch.setenv("CNNCOURSE_CACHE", str(folder))
    give_up()
    refused("mnist cannot be used: Permission denied", datasets.status)


@pytest.mark.parametrize("name", [d.name for d in datasets._ONLINE])
def test_catalogue_of_online_sets(name):
    about = datasets.description(name)
    assert about.kind == "online" and datasets.description(about.instead).kind == "offline"
    for file in about.files:
        assert file.url.startswith("https://") and file.url.endswith("/" + file.name)
        assert len(file.sha256) == 64 and set(file.sha256) <= set("0123456789abcdef") and file.bytes > 0


def test_usual_cache_folder(monkeypatch):
    monkeypatch.delenv("CNNCOURSE_CACHE")
    assert "cnncourse" in datasets.cache_folder().parts and datasets.cache_folder().is_absolute()


# Offline sets


def without_network(code, home):
    "Run Python code in another process with no network and an empty home; what it prints."
    block = "import socket\ndef no(*a, **k): raise OSError('the network was asked')\nsocket.socket.connect = no\n"
    variables = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", block + code], env=variables, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_offline_sets_ask_no_network_and_write_no_file(tmp_path):
    code = """
from cnncourse import datasets
for name in datasets.photograph_names():
    assert datasets.photograph(name).dtype == 'uint8'
print(*(datasets.load(name, n_train=8, n_test=4).x_train.shape for name in datasets.names()[:4]))
"""
    assert "(8, 3, 64, 64)" in without_network(code, tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_import_is_light(tmp_path):
    heavy = ("torch", "tensorflow", "keras", "sklearn", "skimage", "PIL", "scipy", "requests", "pandas", "matplotlib")
    code = f"import sys, cnncourse.datasets\nprint([m for m in {heavy} if m in sys.modules])"
    assert without_network(code, tmp_path).strip() == "[]"


@pytest.mark.parametrize("name", datasets.names()[:4])
@pytest.mark.parametrize("size", [None, 20])
def test_offline_set(name, size):
    data, again = load(name, size=size, seed=3), load(name, size=size, seed=3)
    assert isinstance(data, Data) and data.source.startswith(datasets.description(name).about)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(data, part), getattr(again, part))
    assert data.x_train.shape[1:] == ((data.x_train.shape[1], 20, 20) if size else datasets.description(name).shape)
    train, test = ({x.tobytes() for x in part} for part in (data.x_train, data.x_test))
    assert not train & test
    for y in (data.y_train, data.y_test):
        share = np.bincount(y, minlength=len(data.classes)) / len(y)
        assert np.abs(share - share.mean()).max() < 0.02
    assert not np.array_equal(load(name, seed=4).x_train[:50], load(name, seed=3).x_train[:50])


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    real = load_digits()
    known = {x.tobytes(): y for x, y in zip(np.rint(real.images * 255 / 16).astype(np.uint8), real.target, strict=True)}
    data = load("digits")
    assert all(known[x.tobytes()] == y for x, y in zip(data.x_train, data.y_train, strict=True))
    np.testing.assert_array_equal(np.unique(data.x_train), np.rint(np.arange(17) * 255 / 16))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=5, max_size=80), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1)
)
def test_division_is_disjoint_stratified_and_seeded(labels, first, second, seed):
    y = np.array(labels)
    n_test = round(first * len(y))
    n_train = round(second * (len(y) - n_test))
    train, test = datasets._divide(y, n_train, n_test, seed)
    assert (len(train), len(test)) == (n_train, n_test) and len({*train, *test}) == n_train + n_test
    for label in set(labels):
        share = np.sum(y == label) / len(y)
        assert abs(np.sum(y[test] == label) - share * n_test) <= len(set(labels)) / 2 + 1
        assert abs(np.sum(y[train] == label) - share * n_train) <= len(set(labels)) + 2
    assert all(
        np.array_equal(a, b) for a, b in zip((train, test), datasets._divide(y, n_train, n_test, seed), strict=True)
    )


def test_test_part_does_not_depend_on_training_part():
    few, many = (load("digits", n_train=n, n_test=100) for n in (10, 1000))
    np.testing.assert_array_equal(few.x_test, many.x_test)


def test_texture_patches_of_train_and_test_share_no_pixel(monkeypatch):
    "With a photograph whose pixels say their column, training patches stay left of 384 and test patches right of it."
    column = np.broadcast_to(np.arange(512) // 2, (512, 512)).astype(np.uint8)
    monkeypatch.setattr(datasets, "photograph", lambda name: column[None])
    data = load("textures", n_train=300, n_test=90, size=40)
    assert data.x_train.max() < 384 // 2 <= data.x_test.min()


@pytest.mark.parametrize("name", datasets.photograph_names())
def test_photograph(name):
    import skimage.data

    whole = getattr(skimage.data, name)()
    x = photograph(name)
    np.testing.assert_array_equal(x[0] if whole.ndim == 2 else x.transpose(1, 2, 0), whole)
    assert photograph(name, size=(24, 48), gray=True).shape == (1, 24, 48)


# Shapes


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(16, 70), st.booleans(), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_shapes_agree_with_themselves(n, size, gray, noise, seed):
    drawn = shapes(n, size=size, gray=gray, noise=noise, seed=seed)
    assert drawn.x.shape == (n, 1 if gray else 3, size, size) and drawn.x.dtype == np.uint8
    assert np.bincount(drawn.y, minlength=4).max() - np.bincount(drawn.y, minlength=4).min() <= 1
    for mask, (x1, y1, x2, y2) in zip(drawn.masks, drawn.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x1, y1, x2, y2)
    again = shapes(n, size=size, gray=gray, noise=noise, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_shape_fills_its_box_as_its_geometry_says():
    drawn = shapes(400, size=256)
    x1, y1, x2, y2 = drawn.boxes.T
    filled = drawn.masks.sum(axis=(1, 2)) / ((x2 - x1) * (y2 - y1))
    for label, share in enumerate((5 / 9, np.pi / 4, 1, 1 / 2)):
        np.testing.assert_allclose(filled[drawn.y == label], share, atol=0.03)


@pytest.mark.parametrize("gray", [False, True])
def test_sentence_is_true(gray):
    drawn = shapes(300, gray=gray, size=96)
    palette = {k: np.array(v) for k, v in (datasets._GREYS if gray else datasets._COLOURS).items()}
    names, places = datasets.description("shapes").classes, list(itertools.chain(*datasets._PLACES))
    assert {s.split()[1] for s in drawn.sentences} == set(palette)
    for x, y, box, mask, sentence in zip(*drawn[:4], drawn.sentences, strict=True):
        article, colour, shape, place = sentence.split(" ", 3)
        assert shape == names[y] and place in places and article == ("an" if colour == "orange" else "a")
        mean = x[:, mask].mean(axis=1)
        assert min(palette, key=lambda c: np.abs(palette[c] - mean).sum()) == colour
        thirds = (box[:2] + box[2:]) / 2 * 3 / 96
        if np.abs(thirds - np.rint(thirds)).min() > 0.05:  # not on a border
            column, row = thirds.astype(int)
            assert place == places[3 * row + column]


def test_noise_stays_within_its_bounds():
    still = shapes(20, noise=0, seed=5)
    assert all(len(np.unique(x[:, m], axis=1).T) == 1 for x, m in zip(still.x, still.masks, strict=True))
    noisy = shapes(200, noise=20, seed=5)
    for x, mask in zip(noisy.x, noisy.masks, strict=True):
        assert np.ptp(x[:, ~mask].astype(int)) <= 40 and np.ptp(x[:, mask].astype(int), axis=1).max() <= 40


@pytest.mark.parametrize("wrong", [{"n": -1}, {"n": 2.0}, {"n": 4, "size": 15}, {"n": 4, "noise": 61}])
def test_shapes_refuse(wrong):
    (name, value) = list(wrong.items())[-1]
    with pytest.raises(ValueError, match=f"{name} should be a whole number from .* not {value}"):
        shapes(**wrong)


def test_load_shapes_divides_all_that_is_known():
    data = load("shapes", n_train=30, n_test=10, size=32, gray=True, noise=0)
    assert data.x_train.shape == (30, 1, 32, 32) and data.masks_test.shape == (10, 32, 32)
    assert data.boxes_train.shape == (30, 4) and len(data.sentences_test) == 10


# A folder of pictures

RED = (200, 30, 40)


def saved(image, path, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)


def only(folder, **how):
    "The one picture in a folder."
    data = from_folder(folder, n_train=1, n_test=0, classes=("a",), **{"size": 8, **how})
    assert data.broken == ()
    return data.x_train[0]


def test_palette_with_transparency_is_put_on_white(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, 0, 0, 255])
    image.paste(1, (0, 0, 4, 8))
    saved(image, tmp_path / "a" / "1.png", transparency=1)
    x = only(tmp_path)
    assert (x[:, :, 0] == 255).all() and tuple(x[:, 0, 7]) == RED


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (*RED, 0)), ("LA", (10, 0))])
def test_transparent_pixels_become_white(tmp_path, mode, colour):
    saved(Image.new(mode, (8, 8), colour), tmp_path / "a" / "1.png")
    assert (only(tmp_path) == 255).all()


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), tmp_path / "a" / "1.png")
    assert np.abs(only(tmp_path).astype(int) - 127).max() <= 1


def test_cmyk(tmp_path):
    saved(Image.new("RGB", (8, 8), RED).convert("CMYK"), tmp_path / "a" / "1.jpg", quality=100)
    assert np.abs(only(tmp_path)[:, 4, 4].astype(int) - RED).max() <= 3


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    ramp = np.repeat(np.linspace(0, 65535, 8).astype(np.uint16)[None], 8, axis=0)
    saved(Image.fromarray(ramp), tmp_path / "a" / "1.png")
    np.testing.assert_array_equal(only(tmp_path, gray=True)[0], np.rint(ramp / 257))


def test_one_bit(tmp_path):
    saved(Image.new("1", (8, 8), 1), tmp_path / "a" / "1.png")
    assert (only(tmp_path) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    "The same upright picture, stored each of the eight ways of EXIF."
    upright = np.zeros((16, 16), np.uint8)
    upright[:8, :8], upright[:8, 8:] = 250, 120
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "a" / "1.jpg", exif=exif, quality=100)
    assert np.abs(only(tmp_path, size=16, gray=True)[0].astype(int) - upright).max() <= 5


def test_shape_is_cut_not_stretched(tmp_path):
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 255  # the middle third
    saved(Image.fromarray(wide), tmp_path / "a" / "1.png")
    assert (only(tmp_path) == 255).all()


def test_large_jpeg_is_reduced_rightly(tmp_path):
    half = np.zeros((800, 1200), np.uint8)
    half[:, 600:] = 255
    saved(Image.fromarray(half), tmp_path / "a" / "1.jpg")
    x = only(tmp_path, size=(16, 24), gray=True)[0]
    assert x[:, :10].max() < 10 and x[:, 14:].min() > 245


def test_broken_files_are_listed_and_the_rest_is_read(tmp_path):
    for name in "abcdefgh":
        for kind in ("cat", "dog"):
            saved(Image.new("RGB", (9, 9), RED), tmp_path / kind / "deep" / f"{name}.png")
    (tmp_path / "cat" / "empty.jpg").write_bytes(b"")
    (tmp_path / "dog" / "text.png").write_text("not a picture")
    cut = tmp_path / "cat" / "deep" / "a.png"
    cut.write_bytes(cut.read_bytes()[:40])
    saved(Image.fromarray(np.ones((8, 8), np.float32)), tmp_path / "dog" / "float.tif")
    (tmp_path / "dog" / "notes.txt").write_text("no picture, but listed")
    saved(Image.new("RGB", (9, 9)), tmp_path / ".hidden" / "a.png")
    saved(Image.new("RGB", (9, 9)), tmp_path / "dog" / "._a.png")
    data = from_folder(tmp_path, size=8, n_test=5)
    assert data.classes == ("cat", "dog") and len(data.y_train) == 10 and len(data.y_test) == 5
    assert [Path(name).name for name, _ in data.broken] == ["a.png", "empty.jpg", "float.tif", "notes.txt", "text.png"]
    assert all(reason for _, reason in data.broken) and "broken" in repr(data)


def test_folder_is_divided_by_seed(tmp_path):
    for i in range(20):
        saved(Image.new("L", (8, 8), 10 * i), tmp_path / "고양이 1" / f"{i}.png")
    name = {"size": 8, "classes": ("고양이 1",)}  # one class, and meant
    one, same, other = (from_folder(tmp_path, gray=True, seed=s, **name) for s in (0, 0, 1))
    assert one.classes == ("고양이 1",) and one.x_train.shape == (16, 1, 8, 8)
    np.testing.assert_array_equal(one.x_train, same.x_train)
    assert not np.array_equal(one.x_train, other.x_train)
    with pytest.raises(ValueError, match="30 training and 4 test pictures were asked for, but the set has 20"):
        from_folder(tmp_path, n_train=30, **name)
    with pytest.raises(ValueError, match="n_test should be a whole number from 0"):
        from_folder(tmp_path, n_test=-1, **name)


def test_folder_of_broken_files_only(tmp_path):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "1.png").write_bytes(b"")
    refused("None of the 2 files can be read as a picture", from_folder, tmp_path, size=8)


# The record


def test_data_cannot_be_changed_and_prints_short():
    data = load("faces")
    with pytest.raises(FrozenInstanceError):
        data.classes = ()
    assert len(repr(data).splitlines()) == 6 and "(160, 1, 25, 25) uint8" in repr(data)


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", (8,), (8, 8, 8), (8, 0)])
def test_wrong_size(size):
    with pytest.raises(ValueError, match="size should be a whole number of pixels"):
        load("digits", size=size)


@pytest.mark.parametrize(
    ("name", "near"), [("MNIST", "mnist"), ("fashion-mnist", "fashion_mnist"), ("cifar", "cifar10")]
)
def test_near_names(name, near):
    with pytest.raises(ValueError, match=f"no data set called '{name}'. Did you mean .*'{near}'"):
        load(name)


def test_unknown_option():
    with pytest.raises(ValueError, match="digits has no option 'cache'; its options are none"):
        load("digits", cache="here")
