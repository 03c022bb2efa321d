"""Small files of our own: written whole or not at all, and a damaged one blocks nothing."""

import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncourse import files


def numbers(value) -> dict[str, float]:
    return {str(name): float(number) for name, number in value.items()}


DAMAGED = [
    b"",
    b"\0" * 40,  # a power cut
    b'{"a": 1',
    b'<<<<<<< HEAD\n{"a": 1}\n=======\n{"a": 2}\n>>>>>>> other\n',
    b"\xff\xfe\xff",
    "{'a': 1}".encode("utf-16"),
    b"null",
    b"3",
    b"[]",
    b'"text"',
    b'{"a": "x"}',
    b'{"a": null}',
    b'{"a": {}}',
    b"[" * 100_000,
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": 1} trailing',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_set_aside_and_said_once(tmp_path, content):
    path, told = tmp_path / "times.json", []
    path.write_bytes(content)
    assert files.read_json(path, numbers, say=told.append) == {}
    assert files.read_json(path, numbers, say=told.append) == {}  # and from now on there is no file
    (aside,) = tmp_path.glob("*.damaged-*")
    assert aside.read_bytes() == content and not path.exists()
    (sentence,) = told
    assert sentence.startswith(f"{path} was damaged (") and aside.name in sentence and "\n" not in sentence


@given(st.binary(max_size=60))
def test_any_bytes_give_numbers_or_nothing(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    found = files.read_json(path, numbers, say=lambda sentence: None)
    assert all(isinstance(number, float) for number in found.values())
    for aside in path.parent.glob("any.json.damaged-*"):
        aside.unlink()


def test_a_folder_in_the_place_of_the_file_blocks_nothing(tmp_path):
    (tmp_path / "times.json").mkdir()
    assert files.read_json(tmp_path / "times.json", numbers, say=lambda sentence: None) == {}
    files.write_whole(tmp_path / "times.json", "{}")
    assert files.read_json(tmp_path / "times.json", numbers) == {}


def test_what_cannot_be_set_aside_is_said_once(tmp_path, monkeypatch, capsys):
    def refuse(*names):
        raise PermissionError(13, "Permission denied", str(names[0]))

    path = tmp_path / "times.json"
    path.write_text("{")
    monkeypatch.setattr(os, "replace", refuse)
    assert files.read_json(path) == files.read_json(path) == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert "could not be set aside (Permission denied)" in line
    assert path.read_text() == "{"


def test_a_warning_is_plain_words(tmp_path, capsys):
    (tmp_path / "budgets.json").write_text("{")
    files.read_json(tmp_path / "budgets.json")
    said = capsys.readouterr().err
    assert "Warning" not in said and ".py" not in said and said.count("\n") == 1


def test_writers_at_once_do_not_meet(tmp_path):
    path, failed = tmp_path / "shared.json", []

    def write(n):
        for _ in range(40):
            try:
                files.write_whole(path, json.dumps({"who": n, "fill": "x" * 5000}))
            except OSError as error:
                failed.append(error)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            json.loads(path.read_bytes())
    assert failed == []
    assert [p.name for p in tmp_path.iterdir()] == ["shared.json"]


@pytest.mark.parametrize("name", ["a.json", "가" * 80, "x" * 250, os.fsdecode(b"\xb0\xa1.json")])
def test_any_name_that_the_disk_takes(tmp_path, name):
    files.write_whole(tmp_path / name, b"1")
    assert (tmp_path / name).read_bytes() == b"1"


def test_a_failure_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.json"
    files.write_whole(path, "old")

    def full(file):
        file.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device.*a\.json'$"):
        files.write_whole(path, full)
    with pytest.raises(OSError, match=r"a\.json(/b)?'$"):
        files.write_whole(path / "b", "in a file that is no folder")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
