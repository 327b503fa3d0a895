"""The built site as one archive: the same bytes from the same pages, a checksum, and a manifest of what is in it."""

import hashlib
import zipfile

from tools.tree import ToolError, arguments, main, write_whole

NAME = "udulib-book"
DATE = (1980, 1, 1, 0, 0, 0)  # of every file in the archive: its bytes hang on the pages alone
UNUSED = ("_sources", ".buildinfo", ".doctrees")


def contents(html):
    """The files of the site, by their names in it."""
    if not (html / "index.html").exists():
        raise ToolError(f"no book in {html}; run make book first")
    files = {path.relative_to(html).as_posix(): path for path in sorted(html.rglob("*")) if path.is_file()}
    return {name: path for name, path in files.items() if name.split("/")[0] not in UNUSED}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def archive(html, folder):
    """Write NAME.zip, NAME.zip.sha256 and NAME.manifest (as sha256sum reads them) into ``folder``; the archive's path.

    Readers unpack it and open index.html.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part, lines = folder / f"{NAME}.zip", folder / f"{NAME}.zip.part", []
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, path in contents(html).items():
            data = path.read_bytes()
            lines.append(f"{digest(data)}  {NAME}/{name}")
            packed.writestr(zipfile.ZipInfo(f"{NAME}/{name}", DATE), data, zipfile.ZIP_DEFLATED)
    part.replace(target)
    write_whole(folder / f"{NAME}.manifest", "\n".join(lines) + "\n")
    write_whole(folder / f"{NAME}.zip.sha256", f"{digest(target.read_bytes())}  {NAME}.zip\n")
    return target


def make(tree):
    target = archive(tree.root / "_build" / "html", tree.root / "_build" / "site")
    print(f"== {target.stat().st_size / 1e6:.1f} MB: {target}")


if __name__ == "__main__":
    options = arguments(__doc__).parse_args()
    main(lambda: make(options.tree))
