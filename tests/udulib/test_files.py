"""Files are whole: the old content or the new one, whatever ends the writer."""

import os
import threading

import pytest

from udulib.files import FORGOTTEN, clear_drafts, replacing, write_whole


def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with pytest.raises(KeyError), replacing(path) as draft:
        draft.write_text("half of the n")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_what_is_written_at_once_by_many_is_one_of_them_whole(tmp_path):
    path, contents = tmp_path / "a.txt", [bytes([k]) * 200_000 for k in range(4)]
    threads = [threading.Thread(target=write_whole, args=(path, content)) for content in contents * 5]
    for thread in threads:
        thread.start()
    seen = {path.read_bytes() for _ in range(20) if path.exists()}
    for thread in threads:
        thread.join()
    assert seen | {path.read_bytes()} <= set(contents) and os.listdir(tmp_path) == ["a.txt"]


def test_text_is_written_as_utf_8_and_folders_are_made(tmp_path):
    write_whole(str(tmp_path / "new" / "a.txt"), "é")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "é".encode()


def test_a_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").touch()
    write_whole(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_only_old_drafts_are_cleared(tmp_path):
    old, new, other = (tmp_path / name for name in (".a.1.part", ".b.2.part", "c.part"))
    for path in (old, new, other):
        path.touch()
    long_ago = new.stat().st_mtime - FORGOTTEN - 60
    for path in (old, other):
        os.utime(path, (long_ago, long_ago))
    clear_drafts(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".b.2.part", "c.part"]
