"""The ledger as a judge: faults planted in a copy of the sources turn the check red, each within one run of size ci."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from companion import ledger

NOTEBOOK = {"01": "01_implicit_bias", "05": "05_udv_networks", "06": "06_pruning", "07": "07_lora"}
FAULTS = {  # notebook, file, what stands there, what is put in its place
    "factor 2 missing": ("01", "udulib/kernels/steps.py", "step + step, neighbours", "step, neighbours"),
    "projection dropped": ("01", "udulib/kernels/steps.py", "    if size <= radius:", "    if size > 0:"),
    "D not clipped": ("05", "companion/networks/network_stack.py", "    if net.nonnegative:", "    if False:"),
    "radius 1.5 for 1": (
        "01",
        "notebooks/01_implicit_bias.py",
        "ul.UDU(rank=d, radius=1.0)",
        "ul.UDU(rank=d, radius=1.5)",
    ),
    "noise doubled": (
        "01",
        "notebooks/01_implicit_bias.py",
        "noise_levels = (0.03, 0.3)",
        "noise_levels = (0.06, 0.6)",
    ),
    "split leaking": (
        "06",
        "companion/networks/tasks.py",
        "order[:, : ends[0]], order[:, ends[0] : ends[1]], order[:, ends[1] : ends[2]]",
        "order[:, : ends[1]], order[:, ends[0] : ends[1]], order[:, ends[1] : ends[2]]",
    ),
    "LoRA passed off as UDV": (
        "07",
        "notebooks/07_lora.py",
        'for m in ("LoRA", "UDV, R = 1"))',
        'for m in ("LoRA",) * 2)',
    ),
    "seeds reused": ("01", "udulib/seeds.py", "default_rng([int(seed), ", "default_rng([0, "),
}


@pytest.fixture
def copy(tmp_path):
    for name in ("udulib", "companion", "tools", "notebooks", "claims", "results"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__"))
    for name in ("_config.yml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def findings(copy, number):
    """What the check finds in a run of one notebook of the copy."""
    name = NOTEBOOK[number]
    data = os.environ.get("UDULIB_DATA", ROOT / "data")
    environment = {**os.environ, "PYTHONPATH": str(copy), "UDULIB_DATA": str(data), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tools.run", "--size", "ci", "--device", "cpu", name]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode:  # a run that ends with an error is red as well
        return [done.stdout + done.stderr]
    probes = {id: probe for id, probe in ledger.load_claims().probes.items() if probe.notebook == name}
    fresh = ledger.read_records(copy / "_build" / "executed" / "ci" / f"{name}.json")
    return ledger.check(probes, fresh, ledger.pooled(ledger.entries("ci")), "ci")


@pytest.mark.slow
@pytest.mark.parametrize("number", NOTEBOOK)
def test_without_a_fault_the_check_is_green(copy, number):
    assert findings(copy, number) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_red(copy, fault):
    number, path, old, new = FAULTS[fault]
    text = (copy / path).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (copy / path).write_text(text.replace(old, new), encoding="utf-8")
    assert findings(copy, number) != []
