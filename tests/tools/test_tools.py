"""The tools: what has changed runs again and nothing else, and only whole results count."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import nbformat
import pytest
import yaml
from conftest import ROOT, TINY, add_notebook

from tools import axes, check, execute, pool, provenance, publish, run, stage, store, tune
from tools.tree import ToolError, Tree, json_text, write_json, write_whole


def log(tree):
    path = tree.root / "log"
    return sorted(path.read_text().splitlines()) if path.exists() else []


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def uses(tree, name, line):
    """Let a notebook use something: its source gets a line."""
    edit(tree.source(name), 'print("the rank is"', f'{line}\nprint("the rank is"')


def stored(tree, name="01_one", size="ci", device="cpu", value=3):
    """A finished run, put there without running anything."""
    notebook = tree.executed(size, name).with_name("new.ipynb")
    notebook.parent.mkdir(parents=True, exist_ok=True)
    code = nbformat.v4.new_code_cell("size", metadata={"tags": ["injected-parameters"]})
    notebook.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[code])))
    made = provenance.gather(tree, name, size, device, 1.0)
    claim, verdict = f"rank-{name[:2]}", "reproduced" if value == 3 else "differs"
    record = {"id": claim, "size": size, "notebook": name, "seeds": [], "values": [value], "verdict": verdict}
    store.put(tree, name, size, notebook, provenance.key(tree, name, size, device), made, [record])


# Running --------------------------------------------------------------------------------------------------------------


def test_only_what_has_changed_runs(tree, capfd):
    """Two notebooks run at once; then none; then, one being edited, that one alone. Progress shows each cell."""
    run.run(tree, "ci", "cpu", jobs=2)
    assert log(tree) == ["01_one ci cpu", "02_two ci cpu"]
    assert re.search(r"01_one  cell 4/\d+", capfd.readouterr().out)
    os.utime(tree.source("01_one"))
    run.run(tree, "ci", "cpu", jobs=2)
    assert len(log(tree)) == 2
    edit(tree.source("02_two"), "the rank is", "its rank is")
    run.run(tree, "ci", "cpu", jobs=2)
    assert log(tree) == ["01_one ci cpu", "02_two ci cpu", "02_two ci cpu"]
    made = store.fresh(tree, "02_two", "ci", "cpu")
    assert made["records"][0]["values"] == [3]
    assert made["provenance"]["size"] == "ci" and made["provenance"]["duration_seconds"] > 0
    names = {path.name for path in tree.executed("ci", "_").parent.iterdir()}
    assert names == {"01_one.ipynb", "01_one.json", "02_two.ipynb", "02_two.json"}


def test_notebooks_share_the_cores_and_one_that_runs_alone_has_them_all(tree, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert [run.environment(beside)["OMP_NUM_THREADS"] for beside in (1, 2, 8)] == ["4", "2", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # whoever sets it is heard
    assert run.environment(1)["OMP_NUM_THREADS"] == "3"
    add_notebook(tree.root, "03_three")
    beside, both_run = {}, threading.Barrier(2)

    def one(tree, name, size, device, count):
        beside[name] = count
        if name != "03_three":
            both_run.wait(timeout=60)
            time.sleep(0.2 * (name == "02_two"))  # and 03_three begins beside it
        return True

    monkeypatch.setattr(run, "run_one", one)
    run.run(tree, "ci", "cpu", jobs=2)
    assert beside == {"01_one": 2, "02_two": 2, "03_three": 2}
    run.run(tree, "ci", "cpu", jobs=2, names=["03_three"])
    assert beside["03_three"] == 1


MEASURED = {"id": "x", "seeds": [0], "values": [1]}


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: edit(tree.source("01_one"), "# # Tiny", "# # Other"),
        lambda tree: (tree.root / "udulib" / "code.py").write_text("answer = 43\n"),
        lambda tree: (tree.root / "constraints.txt").write_text("numpy==2.4.5\n"),
        lambda tree: (tree.root / "claims" / "01_one.yml").write_text("- {id: x, probes: []}\n"),
        lambda tree: (tree.root / "claims" / "02_two.yml").write_text("- {id: x, probes: [{notebook: 01_one}]}\n"),
        lambda tree: write_json(tree.published("paper", "01_one"), {"records": [MEASURED]}),
        lambda tree: write_json(tree.pool("ci", "01_one"), {"records": [MEASURED]}),
    ],
    ids=["source", "library", "constraints", "claim", "probe", "published", "pool"],
)
def test_a_result_is_stale_once_what_it_depends_on_changes(tree, change):
    uses(tree, "01_one", "from udulib import code")
    stored(tree)
    assert store.fresh(tree, "01_one", "ci", "cpu")
    change(tree)
    assert not store.fresh(tree, "01_one", "ci", "cpu")


def test_a_result_is_of_one_size_and_one_device(tree):
    stored(tree)
    assert not store.fresh(tree, "01_one", "book", "cpu")
    assert not store.fresh(tree, "01_one", "ci", "cuda")


def test_a_result_outlives_changes_that_do_not_concern_it(tree):
    stored(tree)
    (tree.root / "claims" / "02_two.yml").write_text("- {id: x, probes: []}\n")
    edit(tree.source("02_two"), "# # Tiny", "# # Other")
    (tree.root / "udulib" / "notes.txt").write_text("nothing that is read")
    (tree.root / "udulib" / "code.py").write_text("answer = 43  # which notebook 01 does not use\n")
    (tree.root / "udulib" / "new.py").write_text("")
    assert store.fresh(tree, "01_one", "ci", "cpu")


def test_a_result_is_of_the_tuning_logs_that_its_notebook_reads(tree):
    """Whether it names the log itself or the code that it uses does; other logs do not concern it."""
    add_notebook(tree.root, "03_three")
    write_whole(tree.root / "companion" / "tuned.py", 'LOG = "one.json"\n')
    uses(tree, "02_two", "from companion import tuned")
    uses(tree, "03_three", 'log = "two.json"')
    logs = [tree.root / "results" / "tuning" / f"{name}.json" for name in ("one", "two")]
    for log in logs:
        write_whole(log, "1")

    def current():
        return [name for name in tree.names() if store.fresh(tree, name, "ci", "cpu")]

    for changed, left in zip(logs, (["01_one", "03_three"], ["01_one", "02_two"]), strict=True):
        for name in tree.names():
            stored(tree, name)
        assert current() == ["01_one", "02_two", "03_three"]
        write_whole(changed, "2")
        assert current() == left


def test_each_committed_log_is_named_by_the_code_that_reads_it_and_made_by_make_tune():
    """That is how a notebook's run is stale when a log changes: the names must stand there, not be put together."""
    read = {path.name for name in ("02_completion", "07_lora") for path in provenance.logs_read(Tree(), name)}
    read |= {"convolutions.json"}  # which a guide shows, and no notebook: tests/companion/test_convolutions.py
    committed = {path.name for path in (ROOT / "results" / "tuning").glob("*.json")}
    assert read == committed == {f"{name}.json" for name in tune.TUNINGS}


def test_tuning_without_the_library_says_what_to_install(tree, monkeypatch):
    monkeypatch.setattr(tune, "version", lambda package: None)
    with pytest.raises(ToolError, match=r"movielens-100k-core needs .* pip install cornac"):
        tune.tune(tree, ["movielens-100k-core"])
    with pytest.raises(ToolError, match="there is no log lore; there are movielens"):
        tune.tune(tree, ["lore"])


def test_tuning_keeps_what_is_done_with_its_provenance(tree, monkeypatch, capsys):
    """One record a line; when the third method fails, the two before it stand in the log."""

    def entries():
        for rank in (1, 2):
            yield {"method": "ALS", "rank": rank, "runs": [{"settings": {"ridge": 1.0}, "validation": 0.5}] * 2}
        raise RuntimeError("cut off")

    monkeypatch.setitem(tune.TUNINGS, "some", tune.Tuning(entries, ("numpy",)))
    with pytest.raises(RuntimeError, match="cut off"):
        tune.tune(tree, ["some"])
    text = (tree.root / "results" / "tuning" / "some.json").read_text()
    log = json.loads(text)
    assert [entry["rank"] for entry in log["logs"]] == [1, 2] and {"commit", "numpy", "torch"} <= set(log["provenance"])
    assert text.count('{"settings": {"ridge": 1.0}, "validation": 0.5}') == len(re.findall("settings", text)) == 4
    assert all(line.count("settings") <= 1 for line in text.splitlines())
    assert "some  method: ALS, rank: 2" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["executed", "run_record"])
def test_half_a_result_is_none(tree, part):
    """A file cut short, or missing, is never taken for a whole one."""
    stored(tree)
    path = getattr(tree, part)("ci", "01_one")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert not store.fresh(tree, "01_one", "ci", "cpu")
    path.unlink()
    assert not store.fresh(tree, "01_one", "ci", "cpu")
    path.write_bytes(whole)
    assert store.fresh(tree, "01_one", "ci", "cpu")


def test_unknown_parameters_are_refused(tree, monkeypatch):
    monkeypatch.setenv("UDULIB_RECORDS", "")
    edit(tree.source("01_one"), 'device = "auto"\n', "")
    with pytest.raises(ToolError, match="01_one has no parameter device"):
        execute.execute(tree, "01_one", "ci", "cpu")


def test_unknown_notebooks_are_refused(tree):
    with pytest.raises(ToolError, match="there is no notebook 09_nine"):
        run.run(tree, "ci", "cpu", names=["09_nine"])


def test_a_notebook_records_only_its_own_claims(tmp_path):
    write_whole(tmp_path / "x.json", json.dumps({"id": "x", "notebook": "02_two"}))
    with pytest.raises(ToolError, match="claims of other notebooks: x"):
        execute.read_records(tmp_path, "01_one")


def test_a_failed_notebook_is_kept_for_reading_and_counts_for_nothing(tree, capfd):
    edit(tree.source("01_one"), 'print("the rank is", 3)', "1 / 0")
    with pytest.raises(ToolError, match="1 of 1 notebooks failed at size ci: 01_one"):
        run.run(tree, "ci", "cpu", names=["01_one"])
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert "ZeroDivisionError" in store.failed_place(tree, "01_one", "ci").read_text()
    assert not tree.executed("ci", "01_one").exists() and not store.fresh(tree, "01_one", "ci", "cpu")
    with pytest.raises(ToolError, match="not run at size ci"):
        stage.stage(tree, "ci", "cpu", tree.root / "stage")


@pytest.mark.parametrize(
    "comment",
    [
        "# rm is the residual mean",
        "# ls counts the live columns",
        "# cat u and v are stacked",
        "# time is measured in steps",
        "# %time is not asked for",
        "# !pip is not either",
        "# cd, cp and mv are matrices",
    ],
)
def test_a_comment_is_a_comment_whatever_word_it_begins_with(tree, comment):
    edit(tree.source("01_one"), "# %%\nif folder", f"# %%\n{comment}\nx = 1\n\n# %%\nif folder")
    cells = [cell for cell in execute.read_source(tree, "01_one").cells if cell.cell_type == "code"]
    assert f"{comment}\nx = 1" in [cell.source for cell in cells]


ENDS = {
    "sys.exit()": "import sys; sys.exit()",
    "status 0": "import sys; sys.exit(0)",
    "no words": 'raise SystemExit("")',
    "in a function": "def end():\n    raise SystemExit\nend()",
    "status 3": "import sys; sys.exit(3)",
}


@pytest.mark.parametrize("line", ENDS.values(), ids=ENDS)
def test_a_notebook_that_ends_itself_counts_for_nothing(tree, monkeypatch, line):
    """papermill would call the first four a success, with the cells that follow not run."""
    monkeypatch.setenv("UDULIB_RECORDS", "")
    edit(tree.source("01_one"), "# %%\nif folder", f"# %%\n{line}\n\n# %%\nif folder")
    with pytest.raises(ToolError, match=r"01_one (ended at cell 6 with SystemExit|failed).*what it left"):
        execute.execute(tree, "01_one", "ci", "cpu")
    assert not store.fresh(tree, "01_one", "ci", "cpu") and not tree.executed("ci", "01_one").exists()
    assert "SystemExit" in store.failed_place(tree, "01_one", "ci").read_text()


def test_a_cell_that_did_not_run_is_found():
    code = nbformat.v4.new_code_cell
    cells = [code("1", execution_count=1), code(""), nbformat.v4.new_markdown_cell("x"), code("2")]
    with pytest.raises(ToolError, match="01_one did not run cell 4"):
        execute.check_whole(nbformat.v4.new_notebook(cells=cells), "01_one")
    meant = code("1 / 0", execution_count=1, metadata={"tags": ["raises-exception"]})
    meant.outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])]
    execute.check_whole(nbformat.v4.new_notebook(cells=[meant]), "01_one")


SLOW = TINY.replace(
    '# %% tags=["nbval',
    """# %%
import time

while not Path(os.environ["TINY_LOG"] + ".go").exists():
    time.sleep(0.05)

# %% tags=["nbval""",
)


def wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_counts_and_the_next_one_goes_on(tree):
    """kill -9 in the middle of a notebook: what was whole stays, what was not runs again, the remains are removed."""
    add_notebook(tree.root, "02_two", SLOW)
    command = [sys.executable, "-m", "tools.run", "--root", tree.root, "--size", "ci", "--device", "cpu", "--jobs", "1"]
    runner = subprocess.Popen(command, cwd=ROOT)
    wait(lambda: len(log(tree)) == 2)  # the second notebook is at its waiting cell
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert store.fresh(tree, "01_one", "ci", "cpu") and not store.fresh(tree, "02_two", "ci", "cpu")
    folder = tree.executed("ci", "_").parent
    assert list(folder.glob(".02_two.*"))
    write_whole(tree.root / "log.go", "")
    wait(lambda: not list(folder.glob(".02_two.*")))  # the orphan sees that its parent is gone and ends
    assert not tree.executed("ci", "02_two").exists()
    (folder / ".02_two.999999999").mkdir()  # as if the orphan had been killed too
    subprocess.run(command, cwd=ROOT, check=True)
    assert log(tree) == ["01_one ci cpu", "02_two ci cpu", "02_two ci cpu"]
    assert store.fresh(tree, "02_two", "ci", "cpu") and not list(folder.glob(".*"))


# Staging --------------------------------------------------------------------------------------------------------------


def figure_cell(*extra, name="fig-a"):
    about = {"udulib_figure": {"alt": "A line that falls.", "caption": "It *falls*.", "name": name}}
    figure = nbformat.v4.new_output("display_data", {"image/png": "AAAA"}, metadata=about)
    caption = nbformat.v4.new_output("display_data", {"text/markdown": "It"}, metadata={"udulib_caption": True})
    return nbformat.v4.new_code_cell("show()", outputs=[figure, caption, *extra])


def test_figures_become_numbered_figures():
    cell = figure_cell()
    stage.number_figure(cell, "01_one")
    assert cell.metadata["mystnb"]["image"] == {"alt": "A line that falls."}
    assert cell.metadata["mystnb"]["figure"] == {"caption": "It *falls*.", "name": "fig-a"}
    assert [list(output.data) for output in cell.outputs] == [["image/png"]]


def test_a_figure_shares_its_cell_with_nothing_displayed():
    table = nbformat.v4.new_output("display_data", {"text/markdown": "| a |"})
    with pytest.raises(ToolError, match="a cell shows one figure"):
        stage.number_figure(figure_cell(table), "01_one")


def test_staging_mirrors_book_and_notebooks_and_leaves_unchanged_files_alone(tree):
    for name in tree.names():
        stored(tree, name)
    page, folder = tree.root / "book" / "index.md", tree.root / "stage"
    page.write_text("# Title\n")
    write_whole(folder / "book" / "gone.md", "of an earlier build")
    stage.stage(tree, "ci", "cpu", folder)
    staged = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    notebooks = {f"notebooks/{name}.ipynb" for name in tree.names()}
    records = {f"executed/ci/{name}.json" for name in tree.names()}
    assert (
        staged
        == {"_config.yml", "book/index.md", "book/_modules.md", "book/_runs.md", "book/_toc.yml"} | notebooks | records
    )
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    page.write_text("# Other title\n")
    stage.stage(tree, "ci", "cpu", folder)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before[path]} == {"index.md"}


def test_a_page_that_the_contents_do_not_list_stops_the_staging(tree):
    for name in tree.names():
        stored(tree, name)
    staged = stage.stage(tree, "ci", "cpu", tree.root / "stage") / "book" / "_toc.yml"
    assert "02_two" in staged.read_text() and "03_not_written_yet" not in staged.read_text()
    edit(tree.root / "book" / "_toc.yml", "  - file: notebooks/02_two\n", "")
    with pytest.raises(ToolError, match="does not list notebooks/02_two"):
        stage.stage(tree, "ci", "cpu", tree.root / "stage")


def test_every_notebook_page_ends_in_its_provenance(tree):
    for name in tree.names():
        stored(tree, name)
    stage.stage(tree, "ci", "cpu", tree.root / "stage")
    notebook = nbformat.read(tree.root / "stage" / "notebooks" / "01_one.ipynb", as_version=4)
    made = store.fresh(tree, "01_one", "ci", "cpu")["provenance"]
    for part in ("size ci", made["python"], made["torch"], made["numpy"], made["source_hash"][:10], made["date"][:10]):
        assert part in notebook.cells[-1].source
    runs = (tree.root / "stage" / "book" / "_runs.md").read_text()
    assert "01_one" in runs and "02_two" in runs and made["torch"] in runs


def test_buttons_follow_from_the_repository_address_alone():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = ""
    without = stage.staged_config(config)
    assert "launch_buttons" not in without and "repository" not in without
    assert not any(without["html"][f"use_{button}_button"] for button in ("repository", "issues", "edit_page"))
    config["repository"]["url"] = "https://example.org/owner/companion"
    with_url = stage.staged_config(config)
    assert with_url["launch_buttons"]["colab_url"] and with_url["html"]["use_repository_button"]


# Writing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"key": "é", "records": [{"id": "x", "values": [1, 2.5, None]}, {"id": "y"}], "none": []},
        {"logs": [{"runs": [{"a": {"b": 1}}], "chosen": {}}, {"runs": []}]},
        [{"a": [1, {"b": 2}]}],
        {},
        [],
        [1, [2]],
        "text",
    ],
)
def test_json_text_is_the_same_json_with_a_record_a_line(value):
    text = json_text(value)
    assert json.loads(text) == value
    assert all(line.count('"id"') + line.count('"a"') <= 1 for line in text.splitlines())


def test_json_text_is_what_others_read():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"records": [{"values": [float("nan")]}]})


def test_published_results_have_a_record_a_line():
    for path in sorted((ROOT / "results").glob("*/*.json")):
        text = path.read_text(encoding="utf-8")
        assert text == json_text(json.loads(text)) + "\n", f"{path.name} is written by make publish or make tune"


# Publishing -----------------------------------------------------------------------------------------------------------


def test_publish_copies_only_what_is_current(tree):
    stored(tree, "01_one")
    stored(tree, "02_two")
    publish.publish(tree, "ci", "cpu", [])
    published = json.loads(tree.published("ci", "02_two").read_text())
    assert published["records"][0]["id"] == "rank-02" and published["provenance"]["size"] == "ci"
    stored(tree, "01_one")  # anew, since its badges show what is published
    edit(tree.source("02_two"), "# # Tiny", "# # Other")
    with pytest.raises(ToolError, match="not run at size ci on cpu since the last change: 02_two"):
        publish.publish(tree, "ci", "cpu", [])


CLAIM = """
- id: rank-NUMBER
  paper: ours
  statement: The rank is 3
  kind: theorem
  probes:
    - {id: rank-NUMBER, role: beyond, quantity: rank, expected: {equals: 3}, sizes: [ci]}
"""


def test_check_is_red_when_a_claim_no_longer_holds(tree, capsys):
    for number, name in (("01", "01_one"), ("02", "02_two"), ("03", "03_not_written_yet")):
        (tree.root / "claims" / f"{name}.yml").write_text(CLAIM.replace("NUMBER", number))
    for name in tree.names():
        stored(tree, name)
    check.check(tree, "ci", "cpu", jobs=1)
    assert "the ledger holds at size ci: 2 claims measured" in capsys.readouterr().out
    stored(tree, "02_two", value=2)
    with pytest.raises(ToolError, match=r"rank-02: 2 left the band \(3\)"):
        check.check(tree, "ci", "cpu", jobs=1)


def test_provenance_says_whether_the_commit_holds_it_all(tree):
    """dirty is about what the result depends on, not about other files."""

    def git(*arguments):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tree.root, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    assert not provenance.gather(tree, "01_one", "ci", "cpu", 1.0)["dirty"]
    (tree.root / "book" / "index.md").write_text("# Title\n")
    assert not provenance.gather(tree, "01_one", "ci", "cpu", 1.0)["dirty"]
    (tree.root / "udulib" / "code.py").write_text("answer = 43\n")
    assert not provenance.gather(tree, "01_one", "ci", "cpu", 1.0)["dirty"]
    uses(tree, "01_one", "from udulib import code")
    git("commit", "-m", "used", "notebooks")
    made = provenance.gather(tree, "01_one", "ci", "cpu", 1.0)
    assert made["dirty"] and re.fullmatch("[0-9a-f]{40}", made["commit"])


def test_wheel_and_sdist_hold_the_ledger(tmp_path):
    """Verdicts show in Colab: the wheel has claims/ and results/, also when it is built from the sdist."""
    import tarfile
    import zipfile

    build = [sys.executable, "-m", "hatchling", "build", "-d", tmp_path]
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    for source in (ROOT, unpacked):
        subprocess.run([*build, "-t", "wheel"], cwd=source, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
        shipped = {name.removeprefix("companion/_shipped/") for name in names if name.startswith("companion/_shipped/")}
        published = {path.relative_to(ROOT).as_posix() for path in (ROOT / "results").rglob("*.json")}
        published |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "claims").glob("*.yml")}
        assert published <= shipped
        assert not any(name.startswith(("tools/", "tests/", "book/")) for name in names)
        wheel.unlink()


def test_runs_from_another_seed_lie_apart(tree):
    """Their notebook gets the parameter, and what is stored from seed 0 stays."""
    add_notebook(tree.root, "01_one", TINY.replace('device = "auto"', 'device = "auto"\nfirst_seed = 0'))
    apart = replace(tree, first_seed=7)
    for one in (tree, apart):
        run.run(one, "ci", "cpu", 1, ["01_one"])
    cells = [nbformat.read(one.executed("ci", "01_one"), as_version=4).cells for one in (tree, apart)]
    injected = [cell.source for cell in cells[1] if "injected-parameters" in cell.metadata.tags]
    assert "first_seed = 7" in injected[0]
    assert tree.executed("ci", "01_one") != apart.executed("ci", "01_one")
    assert store.fresh(tree, "01_one", "ci", "cpu") and store.fresh(apart, "01_one", "ci", "cpu")
    assert store.fresh(apart, "01_one", "ci", "cpu")["provenance"]["first_seed"] == 7


def test_a_notebook_without_seeds_refuses_another_first_one(tree):
    with pytest.raises(ToolError, match="failed"):
        run.run(replace(tree, first_seed=7), "ci", "cpu", 1, ["01_one"])


def test_a_page_to_download_holds_its_parameters_once():
    """Behind its own parameters, papermill's would undo what a reader changes there. The device stays the reader's."""
    own = 'size = "ci"  # ci, book or paper\ndevice = "auto"  # any\nfirst_seed = 0  # of all'
    cells = [
        nbformat.v4.new_code_cell(own, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            '# Parameters\nsize = "book"\ndevice = "cpu"\nfirst_seed = 40\n', metadata={"tags": ["injected-parameters"]}
        ),
        nbformat.v4.new_code_cell("print(size)"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    stage.fold_parameters(notebook)
    assert [cell.source for cell in notebook.cells] == [
        'size = "book"  # ci, book or paper\ndevice = "auto"  # any\nfirst_seed = 40  # of all',
        "print(size)",
    ]


# Pools ---------------------------------------------------------------------------------------------------------------

SEEDED = """
# %%
if folder := os.environ.get("UDULIB_RECORDS"):
    seeds = list(range(first_seed, first_seed + 5))
    record = {"id": "rank", "size": size, "notebook": "NAME", "seeds": seeds, "values": [VALUE] * 5}
    Path(folder, "rank.json").write_text(json.dumps(record | {"verdict": "reproduced"}))
"""


@pytest.fixture
def seeded(tree):
    """A checkout whose first notebook records five values from its first seed on."""
    (tree.root / "notebooks" / "02_two.py").unlink()
    claims = CLAIM.replace("rank-NUMBER", "rank").replace("theorem", "always") + CLAIM.replace("rank-NUMBER", "01_one")
    write_whole(tree.root / "claims" / "01_one.yml", claims)
    seeded_notebook(tree, "3")
    return tree


def seeded_notebook(tree, value, more=""):
    text = TINY.replace('device = "auto"', 'device = "auto"\nfirst_seed = 0') + SEEDED.replace("VALUE", value)
    add_notebook(tree.root, "01_one", text + more)


def in_pool(tree):
    return {one["id"]: one for one in json.loads(tree.pool("ci", "01_one").read_text())["records"]}["rank"]


def test_a_pool_is_filled_and_goes_on(seeded):
    pool.pool(seeded, "ci", "cpu", 2, range(0, 10))
    assert (in_pool(seeded)["seeds"], in_pool(seeded)["values"]) == ([*range(10)], [3] * 10)
    done = len(log(seeded))
    pool.pool(seeded, "ci", "cpu", 1, range(0, 15))
    assert len(log(seeded)) == done + 1  # what is there is not run again
    edit(seeded.source("01_one"), "# # Tiny", "# # Another title")
    pool.pool(seeded, "ci", "cpu", 1, range(0, 15))
    assert len(log(seeded)) == done + 1  # a text changes no value


def test_a_pool_stands_where_changed_code_repeats_its_first_run(seeded, capsys):
    pool.pool(seeded, "ci", "cpu", 1, range(0, 10))
    done = len(log(seeded))
    seeded_notebook(seeded, "3 * (1 + 1e-12)")
    pool.pool(seeded, "ci", "cpu", 1, range(0, 10))
    assert len(log(seeded)) == done + 1 and in_pool(seeded)["values"] == [3] * 10
    seeded_notebook(seeded, "4")
    pool.pool(seeded, "ci", "cpu", 1, range(0, 10))
    assert "rank is no longer what its pool holds" in capsys.readouterr().out
    assert in_pool(seeded)["values"] == [4] * 10


def test_what_is_newly_measured_leaves_the_values_of_the_others_in_the_pool(seeded):
    pool.pool(seeded, "ci", "cpu", 1, range(0, 10))
    first = json.loads(seeded.pool("ci", "01_one").read_text())["runs"]
    seeded_notebook(seeded, "3", SEEDED.replace("VALUE", "5").replace("rank", "01_one"))
    pool.pool(seeded, "ci", "cpu", 1, range(0, 5))
    found = json.loads(seeded.pool("ci", "01_one").read_text())
    assert {one["id"]: len(one["seeds"]) for one in found["records"]} == {"rank": 10, "01_one": 5}
    assert found["earlier"] == first and list(found["runs"]) == ["0"]


def test_axes_hold_runs_under_other_conditions_against_the_pool(seeded, capsys):
    seeded_notebook(seeded, "3 + (os.environ.get('OMP_NUM_THREADS') == '2')")
    pool.pool(seeded, "ci", "cpu", 2, range(0, 5))
    axes.axes(seeded, 1, ["again", "threads", "seeds"])
    found = json.loads(seeded.axes().read_text())
    assert [(name, one["moved"], one["words"]) for name, one in found.items()] == [
        ("again", {}, []),
        ("threads", {"rank": 0.25}, ["rank"]),
        ("seeds", {}, []),
    ]
    assert (found["threads"]["paired"], found["seeds"]["paired"]) == (1, 0)
    assert any("seed 0" in sentence for sentence in found["threads"]["red"])
    done = len(log(seeded))
    axes.axes(seeded, 1, ["again"])
    assert len(log(seeded)) == done  # what is there is not run again
    with pytest.raises(ToolError, match="there is no axis moon"):
        axes.axes(seeded, 1, ["moon"])


def test_a_run_of_more_seeds_covers_further_blocks():
    found = {"runs": {"0": {"seeds": 10}, "20": {"seeds": 5}}}
    assert [start for start in range(0, 30, 5) if pool.covered(found, start)] == [0, 5, 20]
    assert pool.covered({"runs": {"0": {"seeds": None}}}, 35)  # without seeds one run says it all


def test_fresh_seeds_are_held_against_the_pool_and_old_ones_against_themselves(seeded, capsys):
    apart = replace(seeded, first_seed=100)
    check.check(apart, "ci", "cpu", 1)  # nothing to hold them against
    pool.pool(seeded, "ci", "cpu", 1, range(0, 25))
    check.check(apart, "ci", "cpu", 1)
    assert "from seed 100 on" in capsys.readouterr().out
    seeded_notebook(seeded, "4")
    with pytest.raises(ToolError, match="rank: 0 of 5 fresh seeds in the band, 25 of 25 before"):
        check.check(apart, "ci", "cpu", 1)
    with pytest.raises(ToolError, match=r"rank: seed 0 \(and 4 more\) gives 4, and 3 in the pool"):
        check.check(seeded, "ci", "cpu", 1)


@pytest.mark.parametrize("text", ["50", "5:5", "9:3", "a:b", "-5:5"])
def test_ranges_of_seeds_that_are_none(text):
    with pytest.raises(ToolError, match="first:last"):
        pool.seed_range(text)
