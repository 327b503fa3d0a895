"""companion.data: every way data can arrive, and every way it can fail to."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT

from companion import data
from companion.data import archives, checked, downloads, loaders
from companion.data import manifest as shipped
from companion.data.__main__ import main
from udulib.errors import InputError

TEXT = b"1\t2\t3\n" * 1000
OTHER = b"something else\n"


def sha(content):
    return hashlib.sha256(content).hexdigest()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):  # a link to there
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def deb(members):
    out = b"!<arch>\n"
    for name, content in members.items():
        out += f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


class Answers(http.server.BaseHTTPRequestHandler):
    """Files of the server's dictionary; (content, announced, pause) sends less than announced, after half a pause."""

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        content, announced, pause = content if isinstance(content, tuple) else (content, len(content), 0)
        self.send_response(200)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        self.server.released.wait(pause)
        try:
            self.wfile.write(content[half:])
        except OSError:  # the reader has gone
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    serving.files, serving.asked, serving.released = {}, [], threading.Event()
    serving.url = f"http://127.0.0.1:{serving.server_port}/"
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield serving
    serving.released.set()
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Puts a manifest in place: manifest(name=(members, sources)) with members as contents."""

    def write(**entries):
        said = {
            name.replace("_", "-"): {
                "title": "a test",
                "licence": "free",
                "citation": "nobody",
                "members": {path: {"bytes": len(content), "sha256": sha(content)} for path, content in members.items()},
                "sources": sources,
            }
            for name, (members, sources) in entries.items()
        }
        path = tmp_path / f"sources-{len(list(tmp_path.iterdir()))}.yml"
        path.write_text(yaml.safe_dump(said, sort_keys=False))
        monkeypatch.setattr(shipped, "MANIFEST", path)
        return path

    monkeypatch.setattr(checked, "_found_right", {})
    return write


def left_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def offered(content, file="a.zip", member="inside.txt", **more):
    """A source that lies on the disk."""
    return {"file": file, "sha256": sha(content), "members": {"u.txt": member}, **more}


# The manifest that ships ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", data.names())
def test_each_entry_says_what_a_reader_must_know(name):
    entry = data.about(name)
    assert entry.title and entry.licence and entry.citation
    assert entry.members and entry.sources
    hashes = [member.sha256 for member in entry.members] + [source.sha256 for source in entry.sources if source.sha256]
    assert all(re.fullmatch("[0-9a-f]{64}", found) for found in hashes)
    assert all(member.bytes > 0 for member in entry.members)
    paths = {member.path for member in entry.members}
    reached = set()
    for source in entry.sources:
        assert source.kind in ("https", "files", "pypi", "npm", "debian")
        assert source.members.keys() <= paths
        reached |= source.members.keys()
        if source.kind in ("https", "files"):
            assert source.at.startswith("https://")
            assert source.kind == "https" or source.at.endswith("/")
        else:
            assert source.sha256 and re.search(r"[=@][0-9]", source.at), "a package archive is pinned"
    assert reached == paths


def test_manifest_names_no_package_registry():
    folder = Path(data.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix in (".py", ".yml"))
    assert not re.search(r"pypi\.org|pythonhosted|npmjs|deb\.debian", text)


def test_data_without_npm_or_apt():
    """Whoever has a network needs neither: each such package stands behind an address or another package."""
    for name in data.names():
        entry = data.about(name)
        reached = {path for source in entry.sources if source.kind not in ("npm", "debian") for path in source.members}
        assert reached == {member.path for member in entry.members}


def test_unknown_name_lists_the_names():
    with pytest.raises(InputError, match=r"did you mean 'fashion-mnist'.*movielens-100k, house-prices"):
        data.fetch("fashion_mnst")
    with pytest.raises(InputError, match="got 3; there are"):
        data.about(3)


# Ways in --------------------------------------------------------------------------------------------------------------


def test_archive_at_an_address(manifest, server, tmp_path):
    archive = zipped({"x/inside.txt": TEXT, "x/more.txt": OTHER})
    server.files["/a.zip"] = archive
    manifest(one=({"u.txt": TEXT}, [{"https": server.url + "a.zip", **offered(archive, member="x/inside.txt")}]))
    seen = []
    path = data.fetch("one", tmp_path / "d", progress=lambda *told: seen.append(told))
    assert path == tmp_path / "d" / "one" / "u.txt"
    assert path.read_bytes() == TEXT
    assert left_in(tmp_path / "d") == ["one/u.txt"]
    assert seen[-1] == (server.url + "a.zip", len(archive), len(archive))
    assert data.fetch("one", tmp_path / "d") == path
    assert server.asked == ["/a.zip"], "what is here is not fetched again"


def test_files_at_an_address_are_unpacked_and_kept_one_by_one(manifest, server, tmp_path):
    server.files["/d/one.txt.gz"] = gzip.compress(TEXT)
    two = [{"files": server.url + "d/", "members": "{member}.gz"}]
    manifest(two=({"one.txt": TEXT, "deep/two.txt": OTHER}, two))
    with pytest.raises(data.DataError, match="answered 404"):
        data.fetch("two", tmp_path / "d")
    assert left_in(tmp_path / "d") == ["two/one.txt"], "what arrived whole is kept"
    server.files["/d/deep/two.txt.gz"] = gzip.compress(OTHER)
    paths = data.fetch("two", tmp_path / "d")
    assert {name: path.read_bytes() for name, path in paths.items()} == {"one.txt": TEXT, "deep/two.txt": OTHER}
    assert server.asked == ["/d/one.txt.gz", "/d/deep/two.txt.gz", "/d/deep/two.txt.gz"]


def test_next_source_when_one_fails(manifest, server, tmp_path):
    good, bad = zipped({"inside.txt": TEXT}), zipped({"inside.txt": OTHER})
    server.files |= {"/good.zip": good, "/bad.zip": bad}
    manifest(
        one=(
            {"u.txt": TEXT},
            [
                {"https": server.url + "gone.zip", **offered(good)},
                {"https": server.url + "bad.zip", **offered(good)},
                {"https": server.url + "good.zip", **offered(good)},
            ],
        )
    )
    assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives(manifest, tmp_path, mode):
    (tmp_path / "a.tar").write_bytes(archive := tarred({"./inside.txt": TEXT, "link": "inside.txt"}, mode))
    manifest(one=({"u.txt": TEXT}, [{"https": (tmp_path / "a.tar").as_uri(), **offered(archive, "a.tar")}]))
    assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT


@pytest.mark.parametrize("packed", ["xz", "gz", "zst"])
def test_debian_package_is_read_without_its_tools(manifest, tmp_path, packed):
    tar = tarred({"./usr/share/one.gz": gzip.compress(TEXT)}, f"w:{packed}" if packed != "zst" else "w")
    archive = deb({"debian-binary": b"2.0\n", "control.tar": b"odd", f"data.tar.{packed}": tar})
    (tmp_path / "a.deb").write_bytes(archive)
    source = offered(archive, "a.deb", "usr/share/one.gz", https=(tmp_path / "a.deb").as_uri())
    manifest(one=({"u.txt": TEXT}, [source]))
    if packed == "zst":
        with pytest.raises(data.DataError, match="packed with zstd"):
            data.fetch("one", tmp_path / "d")
    else:
        assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT


@pytest.mark.parametrize("broken", [deb({"debian-binary": b"2.0\n"}), b"!<arch>\nrubbish" * 20])
def test_no_debian_package(manifest, tmp_path, broken):
    (tmp_path / "a.deb").write_bytes(broken)
    manifest(one=({"u.txt": TEXT}, [offered(broken, "a.deb", https=(tmp_path / "a.deb").as_uri())]))
    with pytest.raises(data.DataError, match=r"no member data\.tar"):
        data.fetch("one", tmp_path / "d")


def test_archive_in_an_archive_and_a_header_line_dropped(manifest, tmp_path):
    inner = tarred({"in/ner.tsv": b"a:token\tb:token\n" + TEXT})
    archive = zipped({"deep/a.tar.gz": inner})
    (tmp_path / "a.zip").write_bytes(archive)
    source = offered(archive, member="deep/a.tar.gz!/in/ner.tsv", skip_lines=1, https=(tmp_path / "a.zip").as_uri())
    manifest(one=({"u.txt": TEXT}, [source]))
    assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT


def test_gathered_files_give_the_same_bytes_from_any_archive(manifest, tmp_path):
    first = tarred({"g/00002.b": b"two", "g/00001.a": b"one", "g/cmds": b"no"}, "w:bz2")
    second = zipped({"p/00001.a.txt": b"one", "p/00001.a.json": b"no", "p/00002.b.txt": b"two"})
    together = archives.packed({"00001.a": b"one", "00002.b": b"two"})
    for name, archive, pattern in [("a.tar.bz2", first, "*/[0-9]*.*"), ("b.zip", second, "p/*.txt")]:
        (tmp_path / name).write_bytes(archive)
        source = offered(archive, name, pattern, https=(tmp_path / name).as_uri())
        manifest(one=({"u.txt": together}, [source]))
        with tarfile.open(data.fetch("one", tmp_path / name[0])) as tar:
            assert tar.getnames() == ["00001.a", "00002.b"]


def test_archive_put_there_by_hand(manifest, tmp_path):
    archive = zipped({"inside.txt": TEXT})
    manifest(one=({"u.txt": TEXT}, [{"npm": "one@1.0", **offered(archive)}]))
    by_hand = tmp_path / "d" / "archives" / "a.zip"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(OTHER)
    with pytest.raises(data.DataError, match=rf"expected sha256 {sha(archive)}, got {sha(OTHER)}"):
        data.fetch("one", tmp_path / "d")
    assert by_hand.read_bytes() == OTHER, "the user's file is left alone"
    by_hand.write_bytes(archive)
    assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT
    assert by_hand.is_file()


# Package clients ------------------------------------------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that pip finds without a network."""
    archive = zipped(
        {
            "thing/inside.txt": TEXT,
            "thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
            "thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "thing-1.0.dist-info/RECORD": "",
        }
    )
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thing-1.0-py3-none-any.whl").write_bytes(archive)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return archive


def test_pip_downloads_and_installs_nothing(manifest, wheel, tmp_path):
    source = offered(wheel, "thing-1.0-py3-none-any.whl", "thing/inside.txt", pypi="thing==1.0")
    manifest(one=({"u.txt": TEXT}, [source]))
    assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT
    assert left_in(tmp_path / "d") == ["one/u.txt"]


def test_pip_refuses_a_package_with_another_hash(manifest, wheel, tmp_path):
    source = offered(OTHER, "thing-1.0-py3-none-any.whl", "thing/inside.txt", pypi="thing==1.0")
    manifest(one=({"u.txt": TEXT}, [source, {**source, "pypi": "thing==2.0"}]))
    with pytest.raises(data.DataError) as caught:
        data.fetch("one", tmp_path / "d")
    assert re.search(r"pip download thing==1\.0: .*(MATCH THE HASHES|hash)", str(caught.value))
    assert re.search(r"pip download thing==2\.0: .*No matching distribution", str(caught.value))
    assert left_in(tmp_path / "d") == []


def test_old_source_archives_are_read_with_the_tools_they_need(manifest, tmp_path, monkeypatch):
    """pip reads its metadata in an environment of its own, which old and new versions let us limit differently."""
    called = []

    def run(command, work, extra):
        called.append((command, {name: Path(limits).read_text() for name, limits in extra.items()}))
        raise data.DataError("enough")

    monkeypatch.setattr(downloads, "_run", run)
    manifest(
        one=({"u.txt": TEXT}, [{"pypi": "thing==1.0", "build": "setuptools<80", **offered(OTHER, "thing-1.0.tar.gz")}])
    )
    with pytest.raises(data.DataError, match="enough"):
        data.fetch("one", tmp_path / "d")
    ((command, limits),) = called
    assert command[command.index("--no-binary") + 1] == "thing"
    assert limits == {"PIP_CONSTRAINT": "setuptools<80\n", "PIP_BUILD_CONSTRAINT": "setuptools<80\n"}


def test_python_without_pip(manifest, tmp_path, monkeypatch):
    manifest(one=({"u.txt": TEXT}, [{"pypi": "thing==1.0", **offered(OTHER, "thing-1.0-py3-none-any.whl")}]))
    monkeypatch.setattr(downloads.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match=r"has no pip .*ensurepip adds it"):
        data.fetch("one", tmp_path / "d")


def stand_in(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n" + script)
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("client", "kind", "package", "script"),
    [
        (
            "npm",
            "npm",
            "@a/one@1.0",
            'test "$1 $2 $3" = "pack @a/one@1.0 --pack-destination" && cp "$ARCHIVE" "$4/a.tgz"',
        ),
        ("apt-get", "debian", "one=1~2-3", 'test "$1 $2" = "download one=1~2-3" && cp "$ARCHIVE" a.tgz'),
    ],
)
def test_npm_and_apt_where_they_are(manifest, tmp_path, monkeypatch, client, kind, package, script):
    archive = tarred({"package/one": TEXT})
    (tmp_path / "made").write_bytes(archive)
    manifest(one=({"u.txt": TEXT}, [{kind: package, **offered(archive, "a.tgz", "package/one")}]))
    monkeypatch.setenv("ARCHIVE", str(tmp_path / "made"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(data.DataError, match=f"{client} is not on the path"):
        data.fetch("one", tmp_path / "d")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    stand_in(tmp_path / "bin", client, "echo 'no such package: an error'; exit 3")
    with pytest.raises(data.DataError, match="no such package: an error"):
        data.fetch("one", tmp_path / "d")
    stand_in(tmp_path / "bin", client, "exit 0")
    with pytest.raises(data.DataError, match=r"left no a\.tgz but nothing"):
        data.fetch("one", tmp_path / "d")
    stand_in(tmp_path / "bin", client, script)
    assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT


def test_client_that_never_ends(manifest, tmp_path, monkeypatch):
    manifest(one=({"u.txt": TEXT}, [{"npm": "one@1.0", **offered(OTHER, "a.tgz")}]))
    stand_in(tmp_path / "bin", "npm", "exec sleep 30")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(downloads, "CLIENT_TIMEOUT", 0.3)
    with pytest.raises(data.DataError, match="no result within"):
        data.fetch("one", tmp_path / "d")


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_no_network_says_what_was_tried_and_what_to_do(manifest, tmp_path):
    archive = zipped({"inside.txt": TEXT})
    closed = "http://127.0.0.1:1/"
    manifest(
        one=(
            {"u.txt": TEXT},
            [{"https": closed + "a.zip", **offered(archive)}, {"files": closed, "members": "{member}"}],
        )
    )
    with pytest.raises(data.DataError) as caught:
        data.fetch("one", tmp_path / "d")
    said = str(caught.value)
    assert said.count("no connection to 127.0.0.1") == 2
    assert f"into {tmp_path / 'd' / 'archives'} by hand" in said and f"sha256 {sha(archive)}" in said
    assert f"into {tmp_path / 'd' / 'one'}: u.txt" in said
    assert left_in(tmp_path / "d") == []


def test_address_that_says_nothing_is_given_up(manifest, server, tmp_path, monkeypatch):
    server.files["/a"] = (TEXT, len(TEXT), 20)
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)
    manifest(one=({"a": TEXT}, [{"files": server.url, "members": "{member}"}]))
    before = time.monotonic()
    with pytest.raises(data.DataError, match="timed out"):
        data.fetch("one", tmp_path / "d")
    assert time.monotonic() - before < 5


def test_interrupted_download(manifest, server, tmp_path):
    archive = zipped({"inside.txt": TEXT})
    server.files["/a.zip"] = (archive[:50], len(archive), 0)
    manifest(one=({"u.txt": TEXT}, [{"https": server.url + "a.zip", **offered(archive)}]))
    with pytest.raises(data.DataError, match=rf"interrupted.*50 (of {len(archive):,} )?bytes.*call again"):
        data.fetch("one", tmp_path / "d")
    assert left_in(tmp_path / "d") == []
    server.files["/a.zip"] = archive
    assert data.fetch("one", tmp_path / "d").read_bytes() == TEXT


@pytest.mark.parametrize("wrong", [OTHER, TEXT[:-1] + b"x", TEXT + b"more"], ids=["shorter", "changed", "longer"])
def test_wrong_hash_leaves_no_file(manifest, server, tmp_path, wrong):
    server.files |= {"/u.txt": wrong, "/a.zip": zipped({"inside.txt": wrong}), "/b.zip": zipped({"inside.txt": wrong})}
    unpinned = {"https": server.url + "a.zip", "file": "a.zip", "members": {"u.txt": "inside.txt"}}
    pinned = {"https": server.url + "b.zip", **offered(TEXT, "b.zip")}
    manifest(one=({"u.txt": TEXT}, [{"files": server.url, "members": "{member}"}, unpinned, pinned]))
    with pytest.raises(data.DataError) as caught:
        data.fetch("one", tmp_path / "d")
    said = str(caught.value)
    if len(wrong) <= len(TEXT):
        assert (
            said.count(f"expected sha256 {sha(TEXT)} ({len(TEXT):,} bytes), got {sha(wrong)} ({len(wrong):,} bytes)")
            == 2
        )
    else:
        assert said.count(f"larger than the {len(TEXT):,} bytes expected") == 2
    assert f"expected sha256 {sha(TEXT)}, got {sha(server.files['/b.zip'])}" in said
    assert left_in(tmp_path / "d") == []


def test_file_changed_by_the_user_is_left_alone(manifest, tmp_path):
    manifest(one=({"u.txt": TEXT}, [{"files": "http://127.0.0.1:1/", "members": "{member}"}]))
    path = tmp_path / "d" / "one" / "u.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(TEXT)
    assert data.fetch("one", tmp_path / "d") == path
    path.write_bytes(OTHER)
    with pytest.raises(data.DataError, match=rf"expected sha256 {sha(TEXT)}, got {sha(OTHER)}.*move it away or delete"):
        data.fetch("one", tmp_path / "d")
    assert path.read_bytes() == OTHER


def test_files_are_hashed_once_a_process(manifest, tmp_path, monkeypatch):
    manifest(one=({"u.txt": TEXT}, [{"files": "http://127.0.0.1:1/", "members": "{member}"}]))
    path = tmp_path / "d" / "one" / "u.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(TEXT)
    hashed = []
    real = checked.sha256_of
    monkeypatch.setattr(checked, "sha256_of", lambda file: (hashed.append(file), real(file))[1])
    for _ in range(3):
        data.fetch("one", tmp_path / "d")
    assert hashed == [path]


def test_missing_member(manifest, tmp_path):
    archive = zipped({"inside.txt": TEXT})
    (tmp_path / "a.zip").write_bytes(archive)
    here = (tmp_path / "a.zip").as_uri()
    for location in ("elsewhere.txt", "none.tar!/a", "none/*.txt"):
        manifest(one=({"u.txt": TEXT}, [offered(archive, member=location, https=here)]))
        with pytest.raises(data.DataError, match=rf"a\.zip has no member {re.escape(location.partition('!')[0])}"):
            data.fetch("one", tmp_path / "d")
    assert left_in(tmp_path / "d") == []


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archive_that_steps_out_of_its_folder_is_refused(manifest, tmp_path, name, kind):
    files = {name: b"evil", "inside.txt": TEXT}
    archive = zipped(files) if kind == "zip" else tarred(files)
    (tmp_path / "a").write_bytes(archive)
    manifest(one=({"u.txt": TEXT}, [offered(archive, "a", https=(tmp_path / "a").as_uri())]))
    with pytest.raises(data.DataError, match=r"refused: its member .* leads out"):
        data.fetch("one", tmp_path / "d" / "e")
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret"])
def test_link_that_leads_out_is_refused_and_none_is_followed(manifest, tmp_path, target):
    archive = tarred({"inside.txt": target})
    (tmp_path / "a.tgz").write_bytes(archive)
    manifest(one=({"u.txt": TEXT}, [offered(archive, "a.tgz", https=(tmp_path / "a.tgz").as_uri())]))
    with pytest.raises(data.DataError, match=r"cannot be read as an archive: .*(link|outside)"):
        data.fetch("one", tmp_path / "d")
    archive = tarred({"real.txt": TEXT, "inside.txt": "real.txt"})
    (tmp_path / "a.tgz").write_bytes(archive)
    manifest(one=({"u.txt": TEXT}, [offered(archive, "a.tgz", https=(tmp_path / "a.tgz").as_uri())]))
    with pytest.raises(data.DataError, match="has no member"):
        data.fetch("one", tmp_path / "d")


def test_damaged_archives(manifest, tmp_path):
    noise = np.random.default_rng(0).bytes(200_000)
    whole_zip, whole_tar = zipped({"inside.txt": noise}), tarred({"inside.txt": noise}, "w:bz2")
    middle = len(whole_zip) // 2
    for damaged in (
        OTHER,
        whole_zip[: len(whole_zip) // 2],
        whole_zip[:middle] + b"damaged!" + whole_zip[middle + 8 :],
        whole_tar[: len(whole_tar) // 2],
        whole_tar[:100_000] + b"damaged!" + whole_tar[100_008:],
    ):
        (tmp_path / "a").write_bytes(damaged)
        manifest(one=({"u.txt": noise}, [offered(damaged, "a", https=(tmp_path / "a").as_uri())]))
        with pytest.raises(data.DataError, match=r"cannot be read as an archive|not the file it must be"):
            data.fetch("one", tmp_path / "d")
        assert left_in(tmp_path / "d") == []


def test_damaged_gzip(manifest, tmp_path):
    for damaged, told in [(gzip.compress(TEXT)[:-9], "ends too early"), (OTHER, "cannot be unpacked")]:
        (tmp_path / "u.txt.gz").write_bytes(damaged)
        manifest(one=({"u.txt": TEXT}, [{"files": tmp_path.as_uri() + "/", "members": "{member}.gz"}]))
        with pytest.raises(data.DataError, match=told):
            data.fetch("one", tmp_path / "d")
        assert left_in(tmp_path / "d") == []


def test_folder_that_cannot_be_written(manifest, tmp_path):
    manifest(one=({"u.txt": TEXT}, [{"files": tmp_path.as_uri() + "/", "members": "{member}"}]))
    (tmp_path / "d").write_text("a file where the folder should be")
    with pytest.raises(data.DataError, match=r"cannot keep one in .*UDULIB_DATA"):
        data.fetch("one", tmp_path / "d")


CHILD = """
import sys, pathlib
from companion import data
from companion.data import manifest

manifest.MANIFEST = pathlib.Path(sys.argv[1])
data.fetch("one", sys.argv[2])
"""


def test_killed_download_leaves_no_half_file_and_the_next_call_works(manifest, server, tmp_path):
    content = bytes(3_000_000)
    server.files["/u.txt"] = (content, len(content), 60)
    path = manifest(one=({"u.txt": content}, [{"files": server.url, "members": "{member}"}]))
    with subprocess.Popen([sys.executable, "-c", CHILD, path, tmp_path / "d"]) as child:
        part = tmp_path / "d" / ".partial-one" / "member.part"
        deadline = time.monotonic() + 30
        while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        child.kill()
    assert 0 < part.stat().st_size < len(content), "killed in the middle"
    assert left_in(tmp_path / "d" / "one") == []
    server.released.set()
    server.files["/u.txt"] = content
    assert data.fetch("one", tmp_path / "d").read_bytes() == content
    assert left_in(tmp_path / "d") == ["one/u.txt"]


def test_two_processes_download_once(manifest, server, tmp_path):
    content = bytes(100_000)
    server.files["/u.txt"] = (content, len(content), 1.0)
    path = manifest(one=({"u.txt": content}, [{"files": server.url, "members": "{member}"}]))
    children = [subprocess.Popen([sys.executable, "-W", "error", "-c", CHILD, path, tmp_path / "d"]) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert server.asked == ["/u.txt"]


# Folders --------------------------------------------------------------------------------------------------------------


def test_where_data_is_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("UDULIB_DATA", raising=False)
    assert data.data_folder() == ROOT / "data"
    monkeypatch.setattr(shipped, "ROOT", tmp_path / "site-packages")
    monkeypatch.setattr(shipped.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.data_folder() == tmp_path / "cache" / "udulib"
    monkeypatch.setenv("UDULIB_DATA", str(tmp_path / "mine"))
    assert data.data_folder() == tmp_path / "mine"
    assert data.data_folder(tmp_path / "other") == tmp_path / "other"


# Loaders, on small files of the same form -----------------------------------------------------------------------------


@pytest.fixture
def here(manifest, tmp_path):
    """Puts files of a data set into a folder, under a manifest that expects just these."""

    def put(name, **files):
        files = {path.replace("__", "-"): content for path, content in files.items()}
        manifest(**{name: (files, [{"files": "http://127.0.0.1:1/", "members": "{member}"}])})
        for path, content in files.items():
            place = tmp_path / "d" / name.replace("_", "-") / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return tmp_path / "d"

    return put


def test_ratings_count_from_zero(here):
    found = data.ratings(here("movielens_100k", **{"u.data": b"196\t242\t3\t881250949\n1\t300\t5\t7\n"}))
    assert found.users.tolist() == [195, 0] and found.items.tolist() == [241, 299]
    assert found.ratings.tolist() == [3.0, 5.0] and found.timestamps.tolist() == [881250949, 7]
    assert found.shape == (196, 300)


def test_house_prices_are_raw(here):
    table = data.house_prices(here("house_prices", **{"train.csv": b'Id,Alley,SalePrice\n1,NA,208500\n2,"a,b",1\n'}))
    assert table.columns == ("Id", "Alley", "SalePrice")
    assert table.values.tolist() == [["1", "NA", "208500"], ["2", "a,b", "1"]]
    with pytest.raises(InputError, match=r"got 'Price'; there are: Id, Alley, SalePrice"):
        table.column("Price")


def test_taxi_trips_by_month(here):
    head = "vendor_id,pickup_datetime,dropoff_datetime,store_and_fwd_flag,congestion_surcharge\n"
    folder = here(
        "taxi_trips",
        **{
            "2018__01.csv": (head + "2,2018-01-11 18:24:44,2018-01-11 18:35:02,N,\n").encode(),
            "2018__02.csv": (head + ",2018-02-01 00:00:00,2018-02-01 00:01:00,,2.5\n").encode(),
        },
    )
    trips = data.taxi_trips(folder)
    assert (trips["dropoff_datetime"] - trips["pickup_datetime"]).astype(int).tolist() == [618, 60]
    assert np.array_equal(trips["congestion_surcharge"], [np.nan, 2.5], equal_nan=True)
    assert np.array_equal(trips["vendor_id"], [2, np.nan], equal_nan=True)
    assert trips["store_and_fwd_flag"].tolist() == ["N", ""]
    assert np.array_equal(data.taxi_trips(folder, months="2018-02")["congestion_surcharge"], [2.5])
    for months in (["2018-03"], []):
        with pytest.raises(InputError, match="months are written like '2018-01'"):
            data.taxi_trips(folder, months=months)


@pytest.mark.parametrize(("name", "load"), [("mnist", data.mnist), ("fashion_mnist", data.fashion_mnist)])
def test_images(here, name, load):
    def idx(array):
        lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
        return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()

    pictures = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    labels = np.array([3, 1, 2], dtype=np.uint8)
    files = {
        "train-images-idx3-ubyte": idx(pictures),
        "train-labels-idx1-ubyte": idx(labels),
        "t10k-images-idx3-ubyte": idx(pictures[:1]),
        "t10k-labels-idx1-ubyte": idx(labels[:1]),
    }
    found = load(here(name, **files))
    assert np.array_equal(found.train_images, pictures) and np.array_equal(found.train_labels, labels)
    assert np.array_equal(found.test_images, pictures[:1]) and np.array_equal(found.test_labels, labels[:1])


def test_no_idx_file(tmp_path):
    (tmp_path / "a").write_bytes(OTHER)
    with pytest.raises(data.DataError, match="not an IDX file"):
        loaders._idx(tmp_path / "a")


def test_movie_reviews(here):
    text = "1\t2.25\tGood, ''caf\u00e9''.\r\n2\t-3.5\tBad.\r\n".encode()
    found = data.movie_reviews(here("movie_reviews", **{"movieReviewSnippets_GroundTruth.txt": text}))
    assert found.texts.tolist() == ["Good, ''caf\u00e9''.", "Bad."]
    assert found.ratings.tolist() == [2.25, -3.5]


def test_spam_without_its_headers(here):
    ham = archives.packed({"2.b": b"From: a\nTo: b\n\nBody\n\nmore\n", "1.a": b"From: a\r\n\r\n\xe9\r\n"})
    folder = here("spam", **{"spam__1.tar": archives.packed({"1.c": b"X: only headers"}), "easy__ham__1.tar": ham})
    mails = data.spam(folder)
    assert mails.texts.tolist() == ["\xe9\r\n", "Body\n\nmore\n", ""]
    assert mails.spam.tolist() == [False, False, True]
    assert mails.groups.tolist() == ["easy-ham-1", "easy-ham-1", "spam-1"]
    assert data.spam(folder, headers=True).texts[0].encode("latin-1") == b"From: a\r\n\r\n\xe9\r\n"


def test_weights_are_paths(here, tmp_path):
    files = data.efficientnet_lite0(
        here("efficientnet_lite0", **{"efficientnet__lite0__57934424.pth": OTHER, "a": TEXT})
    )
    assert files.weights.is_file() and files.code == tmp_path / "d" / "efficientnet-lite0"
    assert data.minilm(here("minilm", **{"config.json": OTHER, "model": TEXT})) == tmp_path / "d" / "minilm"


# The command line -----------------------------------------------------------------------------------------------------


def test_command_line(manifest, tmp_path, capsys):
    (tmp_path / "u.txt").write_bytes(TEXT)
    manifest(
        one=({"u.txt": TEXT}, [{"files": tmp_path.as_uri() + "/", "members": "{member}"}]),
        two=({"v.txt": TEXT}, [{"files": tmp_path.as_uri() + "/", "members": "{member}"}]),
    )
    run = functools.partial(lambda *arguments: main([*arguments, "--folder", str(tmp_path / "d")]))
    assert run("--list") == 0
    told = capsys.readouterr().out
    assert re.search(r"one +0\.0 MB  not here", told) and "licence: free" in told and "citation: nobody" in told
    assert run() == 1, "one of the two cannot be had"
    told = capsys.readouterr()
    assert re.search("one .* here", told.out) and re.search("two .* FAILED: two .*could not be had", told.out)
    assert (tmp_path / "u.txt").as_uri() in told.err
    assert run("one") == 0
    assert run("--check") == 0
    assert run("--check", "one") == 0
    assert run("--check", "two") == 1
    (tmp_path / "d" / "one" / "u.txt").write_bytes(OTHER)
    assert run("--check") == 1
    assert "FAILED: " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        run("three")
    assert "there are: one, two" in capsys.readouterr().err


def test_run_as_a_module_without_warnings():
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "companion.data", "--list", "mnist"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MNIST, 70,000" in done.stdout


# The real thing -------------------------------------------------------------------------------------------------------


@pytest.mark.network
def test_movielens_is_movielens(tmp_path):
    found = data.ratings(tmp_path)
    assert found.shape == (943, 1682)
    assert len(set(zip(found.users.tolist(), found.items.tolist(), strict=True))) == len(found.ratings) == 100_000
    assert np.bincount(found.ratings.astype(int)).tolist() == [0, 6110, 11370, 27145, 34174, 21201]
    assert (found.users[0], found.items[0], found.ratings[0], found.timestamps[0]) == (195, 241, 3.0, 881250949)
    assert left_in(tmp_path) == ["movielens-100k/u.data"]


@pytest.mark.network
def test_house_prices_are_house_prices(tmp_path):
    table = data.house_prices(tmp_path)
    assert table.values.shape == (1460, 81) and len(table.columns) == 81
    prices = table.column("SalePrice").astype(float)
    assert prices.mean() == pytest.approx(180921.2, abs=0.05)
    assert (prices.min(), prices.max(), prices[0]) == (34900, 755000, 208500)
    assert table.column("Id").astype(int).tolist() == list(range(1, 1461))
    assert os.listdir(tmp_path) == ["house-prices"]
