"""The radius rule, the shrink law behind it, the atlas, and the rank plateau as a stopping rule."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import udulib as ul
from companion.completion import atlas
from udulib.factorization import radius, stopping

SPECTRUM = (3.0, 2.0, 1.0)


def planted(scale=1.0, **arguments):
    """A planted problem whose X is multiplied by ``scale``."""
    problem, truth = ul.planted_completion(**arguments)
    rows, cols, b = (getattr(problem, name).numpy() for name in ("rows", "cols", "b"))
    return ul.Completion(rows, cols, scale * b, problem.shape, problem.symmetric), truth


def run(problem, model, suggestion, iterations, **more):
    return ul.descend(problem, model, iterations=iterations, device="cpu", **suggestion.settings, **more)


# The shrink law and the numbers made from it --------------------------------------------------------------------------


@given(s=st.floats(1e-3, 1e3), alpha=st.floats(0.1, 10.0))
def test_strength_follows_the_scaling_law(s, alpha):
    """kappa stays when X -> s X and the radius -> s^(1/3) times itself (paper.md, A2)."""
    one = radius.bias_strength(np.array(SPECTRUM), alpha)
    assert radius.bias_strength(s * np.array(SPECTRUM), s ** (1 / 3) * alpha) == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("kappa", [4.0, 7.0])
def test_expected_shrink_is_what_a_converged_run_has_shrunk(kappa):
    """K = kappa^2 - k delta^2, before the run; the dead columns' D makes the difference of a few per cent."""
    problem, _ = planted(d=30, rank=3, observed=270, spectrum=SPECTRUM, seed=1)
    alpha = np.cbrt(radius.bias_strength(SPECTRUM, 1.0) / kappa)
    suggestion = SimpleNamespace(settings=dict(step_size=0.03 * alpha**2, init_scale=alpha, d_init=0.3 * alpha))
    trace = run(problem, ul.UDU(rank=30, radius=alpha), suggestion, 8000, record=("shrink",), record_at=[7999])
    assert trace.log_shrink[-1] == pytest.approx(radius.expected_shrink(SPECTRUM, alpha, 0.3 * alpha), rel=0.1)


def test_no_shrink_is_expected_from_a_start_as_large_as_the_solution():
    """D0 >= ||X||_*/alpha^2 leaves nothing for the ball to press: the lazy boundary."""
    assert radius.expected_shrink(SPECTRUM, 1.0, 6.0) == 0
    assert radius.expected_shrink(SPECTRUM, 1.0, 5.9) > 0


def test_the_last_column_comes_back_when_expected():
    """Within a factor of 2, for a weak and a strong bias and two D0: the waits differ twentyfold."""
    problem, _ = planted(d=30, rank=3, observed=270, spectrum=SPECTRUM, seed=0)
    kappa, delta = (grid.ravel() for grid in np.meshgrid([7.0, 12.0], [0.5, 2.0]))
    alpha = np.cbrt(radius.bias_strength(SPECTRUM, 1.0) / kappa)
    step = 0.5 * radius.largest_step(np.array(SPECTRUM), alpha, 0.5)
    wait = radius.expected_wait(np.array(SPECTRUM), alpha, delta * alpha, step, share=0.3)
    settings = SimpleNamespace(settings=dict(step_size=step, init_scale=0.1 * alpha, d_init=delta * alpha))
    trace = run(
        problem, ul.UDU(rank=30, radius=alpha), settings, 16_000, record_at=np.geomspace(300, 16_000, 60, dtype=int) - 1
    )
    back = ul.numerical_rank(trace.spectra, rtol=0.03) >= 3  # (4, T)
    assert back.any(axis=-1).all()
    measured = trace.iteration[np.argmax(back, axis=-1)]
    assert wait.max() > 10 * wait.min()
    assert (np.abs(np.log2(measured / wait)) < 1).all(), (measured, wait)


def test_a_large_start_asks_for_a_smaller_step():
    """Where D0 exceeds ||X||_*/alpha^2 it is D0 that makes the curvature."""
    one = radius.largest_step(SPECTRUM, 1.0, 0.2)
    assert radius.largest_step(SPECTRUM, 1.0, 0.2, d_init=6.0) == one
    assert radius.largest_step(SPECTRUM, 1.0, 0.2, d_init=12.0) == pytest.approx(one / 2)


def test_largest_step_parts_rest_from_oscillation():
    """Below it the misfit never rises; four times above it rises again and again."""
    problem, _ = planted(d=30, rank=2, observed=450, spectrum=(1.0, 1.0), seed=0)
    alpha, density = 0.7, radius.estimated_spectrum(problem)[2]
    steps = radius.largest_step((1.0, 1.0), alpha, density) * np.array([0.5, 4.0])
    settings = SimpleNamespace(settings=dict(step_size=steps, init_scale=alpha, d_init=alpha))
    trace = run(problem, ul.UDU(rank=10, radius=alpha), settings, 2000, record_at=range(999, 2000))
    small, large = np.diff(trace.objective, axis=-1) > 1e-14
    assert small.sum() == 0 and large.sum() > 10


# The rule ------------------------------------------------------------------------------------------------------------


@given(s=st.floats(1e-3, 1e3))
def test_the_rule_follows_the_scaling_law(s):
    """All settings scale as the trajectory's law asks, so the run is the same run whatever the unit of X."""
    one = radius.suggest_radius(planted(d=20, rank=2, observed=150, seed=3)[0])
    two = radius.suggest_radius(planted(d=20, rank=2, observed=150, seed=3, scale=s)[0])
    assert two.radius == pytest.approx(s ** (1 / 3) * one.radius)
    assert two.settings["d_init"] == pytest.approx(s ** (1 / 3) * one.settings["d_init"])
    assert two.settings["init_scale"] == pytest.approx(s ** (1 / 3) * one.settings["init_scale"])
    assert two.settings["step_size"] == pytest.approx(s ** (-4 / 3) * one.settings["step_size"])


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_rule_finds_the_rank_of_fresh_problems(symmetric):
    right = 0
    for seed in range(8):
        rank = 1 + seed % 4
        d = 40 if symmetric else (36, 44)
        problem, _ = planted(d=d, rank=rank, observed=4 * rank * (40 if symmetric else 80), scale=10.0**seed, seed=seed)
        chosen = radius.suggest_radius(problem)
        model = (ul.UDU if symmetric else ul.UDV)(rank=20, radius=chosen.radius)
        trace = run(problem, model, chosen, 5000, record_at=[])
        right += int(ul.numerical_rank(trace.singular_values, rtol=1e-8)) == rank
    assert right >= 7


def test_everything_observed_leaves_nothing_to_estimate():
    problem, _ = planted(d=15, rank=2, observed=225, spectrum=(2.0, 1.0), seed=0)
    spectrum, edge, density = radius.estimated_spectrum(problem)
    assert edge < 1e-13 and density == 1
    assert spectrum[:2] == pytest.approx([2.0, 1.0])


def test_large_problems_take_the_sparse_way_to_the_same_rule(monkeypatch):
    for d in (40, (40, 50)):
        problem, _ = planted(d=d, rank=2, observed=800, spectrum=(2.0, 1.0), seed=0)
        dense = radius.suggest_radius(problem)
        monkeypatch.setattr(radius, "DENSE_UP_TO", 10)
        assert radius.suggest_radius(problem).radius == pytest.approx(dense.radius, rel=1e-3)
        monkeypatch.undo()


def test_udv_from_equal_factors_is_a_udu():
    r"""UDV from U = V on symmetric data is UDU at (2^{1/6} alpha, 2^{-1/3} D0, 2^{1/6} xi, 2^{-2/3} eta), step by step.

    The gradient of U has a factor 2 in UDU and none in UDV. With U = a U', D = b D' and a^2 b = 1 the two updates
    agree if eta' = eta b / 2 = eta a^2 / b, so b^3 = 2.
    """
    problem, _ = planted(d=20, rank=2, observed=150, spectrum=(2.0, 1.0), seed=3)
    U, D = 0.3 * np.random.default_rng(0).standard_normal((20, 8)), np.full(8, 0.8)
    a, b = 2 ** (-1 / 6), 2 ** (1 / 3)
    udv = ul.descend(
        problem, ul.UDV(rank=8), step_size=0.1, iterations=1000, start={"U": U, "D": D, "V": U}, record=("shrink",)
    )
    udu = ul.descend(
        problem,
        ul.UDU(rank=8, radius=1 / a),
        step_size=0.1 * b / 2,
        iterations=1000,
        start={"U": U / a, "D": D / b},
        record=("shrink",),
    )
    assert (udv.log_shrink[-1] > 1).all()  # the balls are pressed
    assert np.array_equal(udv.factors["U"], udv.factors["V"])
    assert udv.factors["U"] == pytest.approx(a * udu.factors["U"], abs=1e-11)
    assert udv.factors["D"] == pytest.approx(b * udu.factors["D"], abs=1e-11)
    assert udv.objective == pytest.approx(udu.objective, abs=1e-11)


def test_the_rule_asks_of_udv_what_makes_it_that_udu(monkeypatch):
    """Same spectrum, so radius, D0, start and step differ by the derivation's powers of 2."""
    monkeypatch.setattr(radius, "estimated_spectrum", lambda problem, seed: (np.array([2.0, 1.0]), 5.0, 0.3))
    udu, udv = (radius.suggest_radius(planted(d=d, rank=1, observed=50)[0]) for d in (10, (10, 10)))
    ratio = {name: udv.settings[name] / udu.settings[name] for name in udu.settings}
    assert udv.radius / udu.radius == pytest.approx(2 ** (-1 / 6))
    expected = {"step_size": 2 ** (2 / 3), "init_scale": 2 ** (-1 / 6), "d_init": 2 ** (1 / 3)}
    assert ratio == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: radius.suggest_radius(ul.stack([p, p])), "take one by one"),
        (lambda p: radius.suggest_radius(ul.planted_sensing(d=5, rank=1, measurements=9)[0]), "another kind"),
        (lambda p: radius.suggest_radius(ul.Completion([0, 1], [0, 1], [0.0, 0.0], (2, 2))), "nothing to complete"),
        (lambda p: radius.suggest_radius(p, strength=0), "strength"),
        (lambda p: radius.suggest_radius(p, seed=-1), "seed"),
        (lambda p: radius.bias_strength([1.0, -1.0], 1.0), "singular_values"),
        (lambda p: radius.bias_strength(1.0, 1.0), "dimension"),
        (lambda p: radius.largest_step(3.0, 1.0, 0.5), "dimension"),
        (lambda p: radius.expected_shrink([], 1.0, 1.0), "dimension"),
        (lambda p: radius.expected_shrink([1.0], 0.0, 1.0), "radius"),
        (lambda p: radius.largest_step([1.0], 1.0, 0.0), "density"),
    ],
)
def test_bad_input_to_the_rule(call, words):
    with pytest.raises(ul.InputError, match=words):
        call(planted(d=10, rank=1, observed=50)[0])


# The rectangular checks ----------------------------------------------------------------------------------------------


def test_udv_completes_a_rectangular_matrix():
    """80 x 100, rank 3, 1200 entries, ||X||_F = 3, step 0.2, starts of norm 0.1 and 1."""
    problems, truths = [], []
    for seed in range(5):
        _, truth = ul.planted_completion(d=(80, 100), rank=3, observed=1200, seed=seed)
        scale = 3 / np.linalg.norm(truth.singular_values)
        problems.append(planted(d=(80, 100), rank=3, observed=1200, seed=seed, scale=scale)[0])
        truths.append(scale * truth.product())
    trace = ul.descend(
        ul.stack(problems),
        ul.UDV(rank=20),
        step_size=0.2,
        iterations=12_000,
        init_scale=np.array([0.1, 1.0])[:, None],
        seed=np.arange(5),
        record_at=[],
        device="cpu",
    )
    assert (ul.numerical_rank(trace.singular_values, rtol=1e-8) == 3).all()
    error = np.linalg.norm(trace.product() - np.array(truths), axis=(-2, -1)) / 3
    assert (error < 1e-4).all()


# The atlas -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    problem, truth = ul.planted_completion(d=30, rank=2, observed=270, spectrum=(2.0, 1.0), seed=[0, 1])
    grid = dict(strengths=[3.0, 8.0], d_inits=[1.0, 10.0], init_scales=[1.0], step_sizes=[1.0, 4.0])
    return atlas.draw(problem, truth, iterations=3000, rank=12, seed=np.array([0, 1]), device="cpu", **grid)


def test_the_atlas_has_its_regions(drawn):
    assert drawn.rank.shape == (2, 2, 1, 2, 2)
    assert (drawn.region[0, 0, 0, 0] == "right, with a tail").all()  # weak bias
    assert (drawn.region[1, 0, 0, 0] == "low rank, right").all()
    beyond = drawn.region[:, 0, 0, 1]  # at four times the largest step: which wrong region, round-off decides
    assert (
        not np.isin(beyond, ["low rank, right", "right, with a tail"]).any() and (drawn.error[:, 0, 0, 1] > 1e-2).all()
    )
    assert (drawn.rank[1, 0, 0, 0] == 2).all() and (drawn.tail[1, 0, 0, 0] < 1e-8).all()
    assert (drawn.error[1, 0, 0, 0] < 1e-2).all()
    settled = drawn.misfit <= atlas.ARRIVED
    assert settled.any() and (np.isfinite(drawn.converged) == settled).all()


def test_the_atlas_sees_the_boundary_that_the_shrink_law_draws(drawn):
    assert drawn.expected[:, 0, 0, 0, 0] == pytest.approx([3.0**2 - 2, 8.0**2 - 2])
    assert (drawn.expected[:, 1] == 0).all()
    assert drawn.as_expected[:, 0, 0, 0].all()
    assert drawn.shrink[1, 0, 0, 0] == pytest.approx(np.full(2, drawn.expected[1, 0, 0, 0, 0]), rel=0.1)


def test_a_diverged_run_is_no_low_rank(monkeypatch):
    def broken(*arguments, **more):
        trace = ul.descend(*arguments, **more)
        nothing = np.full_like(trace.singular_values, np.nan)
        factors = {name: np.full_like(value, np.nan) for name, value in trace.factors.items()}
        status = np.full(trace.status.shape, "diverged")
        return replace(trace, status=status, singular_values=nothing, factors=factors, final_objective=nothing[..., 0])

    monkeypatch.setattr(atlas, "descend", broken)
    problem, truth = ul.planted_completion(d=10, rank=1, observed=60, spectrum=(1.0,))
    grid = dict(strengths=[1.0], d_inits=[1.0], init_scales=[1.0], step_sizes=[1.0], iterations=50)
    drawn = atlas.draw(problem, truth, device="cpu", **grid)
    assert drawn.region.item() == "oscillating" and drawn.rank.item() == 0 and not drawn.low_rank.any()
    assert np.isinf(drawn.error).all() and np.isinf(drawn.converged).all() and np.isnan(drawn.tail).all()


def test_bad_input_to_the_atlas():
    one = ul.planted_completion(d=10, rank=2, observed=60, seed=[0, 1])
    axes = dict(strengths=[1.0], d_inits=[1.0], init_scales=[1.0], step_sizes=[1.0], iterations=5)
    with pytest.raises(ul.InputError, match="same singular values"):
        atlas.draw(*one, **axes)
    with pytest.raises(ul.InputError, match="symmetric"):
        atlas.draw(*ul.planted_completion(d=(10, 9), rank=2, observed=60), **axes)
    one = ul.planted_completion(d=10, rank=2, observed=60)
    with pytest.raises(ul.InputError, match="axis"):
        atlas.draw(*one, **(axes | {"d_inits": [0.0]}))
    with pytest.raises(ul.InputError, match="rank is above 2; got 2"):
        atlas.draw(*one, rank=2, **axes)
    with pytest.raises(ul.InputError, match="iterations"):
        atlas.draw(*one, **(axes | {"iterations": 0}))


# Stopping ------------------------------------------------------------------------------------------------------------


def trace_of(ranks, objective, iteration=None):
    """A trace with these ranks at 1e-8 and these misfits at each recorded iteration."""
    ranks = np.asarray(ranks)
    spectra = (np.arange(10) < ranks[..., None]).astype(float) + 1e-12 * (np.arange(10) == 0)
    iteration = 2 ** np.arange(ranks.shape[-1]) if iteration is None else iteration
    return SimpleNamespace(iteration=iteration, spectra=spectra, objective=np.asarray(objective, dtype=float))


ENTRIES = ul.planted_completion(d=40, rank=3, observed=600)[0]


def test_the_plateau_is_where_a_further_column_does_not_pay():
    """Signal columns halve the misfit, noise columns take 5 % each."""
    ranks = [10, 5, 2, 2, 3, 3, 3, 4, 5, 6]
    misfit = [9, 9, 5, 4.9, 0.5, 0.11, 0.1, 0.095, 0.09, 0.085]
    plateau = stopping.rank_plateau(trace_of(ranks, misfit), ENTRIES)
    assert (plateau.rank, plateau.first, plateau.last, plateau.index, plateau.ended) == (3, 2**4, 2**6, 6, True)


def test_a_stretch_is_judged_by_its_own_misfit():
    """Rank 2 rests at 0.4 until rank 3 fits far better: that counts for rank 3 alone."""
    plateau = stopping.rank_plateau(trace_of([10, 2, 3], [9, 0.4, 0.03]), ENTRIES)
    assert (plateau.rank, plateau.last) == (3, 4)


def test_a_run_still_on_its_plateau_says_so():
    plateau = stopping.rank_plateau(trace_of([10, 4, 3, 3], [9, 8, 0.1, 0.01]), ENTRIES)
    assert (plateau.rank, plateau.last, plateau.ended) == (3, 8, False)


def test_plateaus_of_a_batch_are_those_of_its_runs():
    ranks = np.array([[10, 3, 3, 4], [10, 2, 1, 1]])
    misfit = np.array([[9, 1, 0.5, 0.49], [9, 8, 7, 6]])
    both = stopping.rank_plateau(trace_of(ranks, misfit), ENTRIES)
    for k in range(2):
        one = stopping.rank_plateau(trace_of(ranks[k], misfit[k]), ENTRIES)
        assert (both.rank[k], both.first[k], both.last[k], both.ended[k]) == (one.rank, one.first, one.last, one.ended)


def test_a_rank_that_could_fit_anything_is_no_answer():
    small = ul.planted_completion(d=10, rank=1, observed=30)[0]
    assert np.isinf(stopping.information(0.0, 4, small)) and np.isfinite(stopping.information(0.0, 3, small))


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_stopping_at_the_plateau_is_close_to_the_oracle(noise):
    """Error at the plateau's end at most 1.15 times the smallest on the way, on the median over the problems."""
    seeds = np.arange(5)
    problem, truth = ul.planted_completion(d=40, rank=2, observed=350, spectrum=(2.0, 1.0), noise=noise, seed=seeds)
    singles = [
        radius.suggest_radius(ul.planted_completion(40, 2, 350, (2.0, 1.0), noise=noise, seed=int(s))[0]) for s in seeds
    ]
    i, j = np.divmod(np.arange(1600), 40)
    whole = ul.stack([ul.Completion(i, j, X.ravel(), (40, 40), symmetric=True) for X in truth.product()])
    trace = ul.descend(
        problem,
        ul.UDU(rank=12, radius=np.array([s.radius for s in singles])),
        iterations=12_000,
        monitor={"truth": whole},
        device="cpu",
        **{name: np.array([s.settings[name] for s in singles]) for name in singles[0].settings},
    )
    error = np.sqrt(trace.monitor["truth"])
    plateau = stopping.rank_plateau(trace, problem)
    at = np.take_along_axis(error, plateau.index[:, None], axis=1)[:, 0]
    assert np.median(at / error.min(axis=1)) <= 1.15
    assert np.median(plateau.rank) == 2


def test_bad_input_to_the_plateau():
    with pytest.raises(ul.InputError, match="Completion"):
        stopping.rank_plateau(trace_of([2, 2], [1, 1]), ul.planted_sensing(d=5, rank=1, measurements=9)[0])
    with pytest.raises(ul.InputError, match="record"):
        stopping.rank_plateau(trace_of([2], [1]), ENTRIES)


def test_the_rule_leaves_no_trace_in_torch():
    """Random signs and low-rank products draw from streams of their own."""
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    radius.suggest_radius(planted(d=600, rank=1, observed=5000)[0])
    assert torch.equal(before, torch.random.get_rng_state())
