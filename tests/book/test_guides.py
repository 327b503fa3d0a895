"""The two guides are what they say: every block runs, pasted below the others, and prints about what stands there."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

GUIDES = {"slim_a_network": (), "train_an_adapter": ("transformers", "peft", "accelerate")}
SLIMMED = """
import sys
import torch

small = torch.load("small.pt", weights_only=False)
assert "udulib" not in sys.modules
assert sum(p.numel() for p in small.parameters()) < 25219 / 3
print(small(torch.zeros(1, 64)).shape)
"""
LOADED = """
import sys
import peft
from transformers import AutoModelForCausalLM

peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "adapter")
assert "udulib" not in sys.modules
"""


def blocks(name):
    """The program that a page is, and what it says that it prints."""
    found = re.findall(r"^```(python|text)\n(.*?)^```", (ROOT / "book" / f"{name}.md").read_text(), flags=re.S | re.M)
    return ["".join(text for kind, text in found if kind == wanted) for wanted in ("python", "text")]


def run(program, folder):
    path = folder / "program.py"
    path.write_text(program)
    settings = ["-W", "ignore::FutureWarning"]
    done = subprocess.run([sys.executable, *settings, path], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def about_the_same(printed, written):
    """Words are the same; numbers are near, since another processor ends elsewhere."""
    number = r"\d+(?:\.\d+)?"
    assert re.sub(number, "#", printed) == re.sub(number, "#", written)
    for one, other in zip(re.findall(number, printed), re.findall(number, written), strict=True):
        near = {"abs": 0.15} if "." in other else {"rel": 0.5, "abs": 3}
        assert float(one) == pytest.approx(float(other), **near), (printed, written)


@pytest.mark.parametrize(("name", "check"), [("slim_a_network", SLIMMED), ("train_an_adapter", LOADED)])
def test_each_block_runs_and_what_it_wrote_needs_no_udulib(name, check, tmp_path):
    for package in GUIDES[name]:
        pytest.importorskip(package, reason=f"needs {package}")
    program, written = blocks(name)
    printed = "".join(line for line in run(program, tmp_path).splitlines(True) if not line.startswith("{"))
    about_the_same(printed, written)
    run(check, tmp_path)


def test_the_readme_leads_to_the_guides():
    readme = (ROOT / "README.md").read_text()
    for name in GUIDES:
        assert f"book/{name}.md" in readme
