"""Files are written whole or not at all."""

import json

import pytest

from taskadapter_lite.files import whole_file, write_json, write_whole


@pytest.mark.parametrize("content, stored", [(b"\x00\r\n", b"\x00\r\n"), ("Grüße\n", "Grüße\n".encode())])
def test_bytes_and_text_arrive_as_they_are_with_their_folders(tmp_path, content, stored):
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, content)
    assert path.read_bytes() == stored
    assert list(path.parent.iterdir()) == [path]


def write_a_part(path):
    with whole_file(path) as beside:
        beside.write_text("ne")
        raise RuntimeError("disk full")


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "old")
    with pytest.raises(RuntimeError):
        write_a_part(path)
    assert path.read_text() == "old"
    with pytest.raises(TypeError):
        write_json(path, {"what JSON can't hold": {1, 2}})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_until_it_is_whole_a_reader_finds_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "old")
    with whole_file(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_json_is_compact_or_for_people(tmp_path):
    write_json(tmp_path / "compact", {"a": [1, "é"]})
    write_json(tmp_path / "indented", {"a": [1, "é"]}, indent=1)
    assert (tmp_path / "compact").read_bytes() == b'{"a":[1,"\\u00e9"]}'
    assert (tmp_path / "indented").read_text("utf-8") == '{\n "a": [\n  1,\n  "é"\n ]\n}\n'
    assert json.loads((tmp_path / "indented").read_text("utf-8")) == {"a": [1, "é"]}
