"""The laboratory's arithmetic is udulib's: the same start gives the same trajectory, in Chromium."""

from pathlib import Path

import numpy as np
import pytest

import udulib as ul

SCRIPTS = Path(__file__).parents[2] / "book" / "_static" / "laboratory"
STEPS, RECORDED = 1000, [1, 3, 10, 30, 100, 300, 500, 750, 1000]
BOUND = 1e-10

SETTINGS = {  # of the problem, and of the run: five corners of the laboratory
    "as in the paper": {"d": 40, "share": 0.4, "step": 0.05, "scale": 1e-2, "radius": 1.0, "noise": 0.0, "d_init": 1.0},
    "small": {"d": 8, "share": 0.7, "step": 0.02, "scale": 1e-1, "radius": 1.5, "noise": 0.0, "d_init": 1.0},
    "noise": {"d": 20, "share": 0.5, "step": 0.03, "scale": 1e-3, "radius": 1.2, "noise": 0.3, "d_init": 0.5},
    "strong": {"d": 16, "share": 1.0, "step": 0.01, "scale": 1e-2, "radius": 0.7, "noise": 0.0, "d_init": 2.0},
    "large start": {"d": 12, "share": 0.6, "step": 0.01, "scale": 2.0, "radius": 3.0, "noise": 0.1, "d_init": 0.2},
}

RUN = """([given, start, kind, settings, recorded]) => {
  const problem = descent.completion(given), model = descent.models[kind];
  const flat = value => Float64Array.from(value.flat());
  const factors = kind === 'deep' ? start.map(flat)
    : Object.fromEntries(Object.entries(start).map(([name, value]) => [name, flat(value)]));
  const seen = [];
  let shrink = 0;
  for (let k = 1; k <= recorded[recorded.length - 1]; k++) {
    shrink += model.step(problem, factors, settings).shrink;
    if (recorded.includes(k)) seen.push(Array.from(model.product(factors, problem)));
  }
  return {products: seen, shrink, spectrum: Array.from(model.spectrum(factors, problem))};
}"""


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    page.goto("about:blank")
    for name in ("matrices", "descent"):
        page.add_script_tag(path=SCRIPTS / f"{name}.js")
    return page


def planted(name, rectangular=False):
    chosen = SETTINGS[name]
    d = chosen["d"]
    shape = (d, d - 3) if rectangular else d
    observed = int(chosen["share"] * d * (d - 3 if rectangular else d))
    problem, _ = ul.planted_completion(shape, 3, observed, (3.0, 2.0, 1.0), noise=chosen["noise"], seed=0)
    return problem, chosen


def in_browser(page, problem, start, kind, chosen):
    entries = list(zip(problem.rows.tolist(), problem.cols.tolist(), problem.b.tolist(), strict=True))
    rows, cols = problem.shape
    given = {"rows": rows, "cols": cols, "entries": entries, "symmetric": problem.symmetric}
    settings = {"stepSize": chosen["step"], "radius": chosen["radius"]}
    seen = page.evaluate(RUN, [given, start, kind, settings, RECORDED])
    return np.array(seen["products"]).reshape(-1, rows, cols), seen


def distance(ours, theirs):
    """The largest difference of an entry over all records, relative to the largest entry."""
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.chromium
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kind", ["bm", "udu", "udv"])
def test_the_models_go_where_udulib_goes(page, name, kind):
    problem, chosen = planted(name, rectangular=kind == "udv")
    rank = min(problem.shape)
    model = {"bm": ul.BM(rank), "udu": ul.UDU(rank, chosen["radius"]), "udv": ul.UDV(rank, chosen["radius"])}[kind]
    rng = np.random.default_rng(1)
    start = {"U": rng.standard_normal((problem.shape[0], rank)), "V": rng.standard_normal((problem.shape[1], rank))}
    start = {key: value * chosen["scale"] / np.linalg.norm(value) for key, value in start.items()}
    start["D"] = np.full(rank, chosen["d_init"])
    start = {key: start[key] for key in model.names}
    options = {"step_size": chosen["step"], "start": start, "device": "cpu", "engine": "loop"}
    runs = [ul.descend(problem, model, iterations=k, record=("shrink",), record_at=[k], **options) for k in RECORDED]
    seen, report = in_browser(page, problem, {k: v.tolist() for k, v in start.items()}, kind, chosen)
    assert distance(seen, np.array([run.product() for run in runs])) <= BOUND
    assert report["shrink"] == pytest.approx(float(runs[-1].log_shrink[-1]), rel=1e-9, abs=1e-12)
    spectrum = runs[-1].singular_values
    assert report["spectrum"][0] == pytest.approx(spectrum[0], rel=1e-10)
    if kind != "udv":  # squares of those of U sqrt(D): small ones too
        large = spectrum > 1e-20 * spectrum[0]
        assert np.array(report["spectrum"])[large] == pytest.approx(spectrum[large], rel=1e-6)


@pytest.mark.chromium
@pytest.mark.parametrize("name", SETTINGS)
def test_depth_three_goes_where_udulib_goes(page, name):
    problem, chosen = planted(name)
    step, scale = chosen["step"] / 5, 0.3
    run = ul.deep.descend(problem, depth=3, scale=scale, step_size=step, iterations=STEPS, record_at=RECORDED)
    start = [(scale * np.eye(problem.shape[0])).tolist()] * 3
    seen, _ = in_browser(page, problem, start, "deep", chosen | {"step": step})
    assert distance(seen, run.products) <= BOUND
