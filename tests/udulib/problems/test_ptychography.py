"""Ptychography: definitions against the formed matrix, the bars of Figure 2's experiment, and bad input."""

import numpy as np
import pytest
import torch

import udulib as ul
from udulib import solvers
from udulib.factorization.live_columns import live_columns
from udulib.factors import product
from udulib.problems import ptychography
from udulib.problems.base import Problem
from udulib.problems.ptychography import leading_vector
from udulib.solvers import retrieval

SEEDS = np.arange(5)


def pictures(side):
    """Amplitude camera and phase cell, as in notebook 03."""
    data = pytest.importorskip("skimage.data")
    transform = pytest.importorskip("skimage.transform")
    amplitude, cell = data.camera() / 255, data.cell()[55:605] / 255
    return tuple(np.clip(transform.resize(p, (side, side), anti_aliasing=True), 0, 1) for p in (amplitude, cell))


def smooth(side):
    """An object that needs no other package."""
    y, x = np.mgrid[:side, :side] / side
    return 0.5 + 0.5 * np.sin(7 * x * y + 3 * y), x


def small(pupil="random", seed=0, **settings):
    settings = {"window": 6, "grid": 3, "step": 2, "pupil": pupil, "seed": seed} | settings
    return ul.planted_ptychography(*smooth(10), **settings)[0]


def normal(shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


PROBLEMS = {
    "random": small,
    "circular": lambda: small("circular"),
    "stack": lambda: small(seed=[0, 1]),
    "irregular": lambda: ul.Ptychography(
        np.random.default_rng(0).standard_normal((3, 4, 4)) + 1j, [[0, 1], [3, 0], [2, 2]], (7, 6), np.ones((3, 4, 4))
    ),
}


@pytest.fixture(params=PROBLEMS, ids=PROBLEMS.keys())
def problem(request):
    return PROBLEMS[request.param]()


# The problem ----------------------------------------------------------------------------------------------------------


def test_intensities_are_those_of_the_definition():
    """|F⁻¹(P_l · x on window l)|², by NumPy and without batching."""
    problem, rng = PROBLEMS["irregular"](), np.random.default_rng(1)
    spectrum = rng.standard_normal((7, 6)) + 1j * rng.standard_normal((7, 6))
    x = spectrum.ravel()[problem.samples.numpy()]
    expected = [
        np.abs(np.fft.ifft2(spectrum[i : i + 4, j : j + 4] * pupil, norm="ortho")) ** 2
        for (i, j), pupil in zip([[0, 1], [3, 0], [2, 2]], problem.pupils.numpy(), strict=True)
    ]
    X = torch.from_numpy(x)[:, None]
    np.testing.assert_allclose(problem.measure(X, X), np.ravel(expected), rtol=1e-12)
    assert len(problem.samples) == problem.shape[0] == 3 * 16 - 3 - 6 - 6 + 2  # the three overlaps, and the triple one


def test_adjoint_identity(problem):
    """<A(X), y> = <X, A*(y)> for real y, with X = L Rᴴ formed here only."""
    L, R = (normal((*problem.batch_shape, problem.shape[0], 3), seed) for seed in (0, 1))
    y = normal(problem.b.shape, 2).real
    G = problem.adjoint(y) @ torch.eye(problem.shape[0], dtype=torch.complex128)
    left, right = (problem.measure(L, R) * y).sum(-1), (G.conj() * (L @ R.mH)).sum((-2, -1)).real
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(G, G.mH, rtol=1e-12, atol=1e-12)


def test_gradient_slope_against_finite_differences(problem):
    """The remainder of the first-order expansion is of second order: slope 2 ± 0.02 in the step."""
    n, batch = problem.shape[0], problem.batch_shape
    factors = {"U": normal((*batch, n, 3)) / np.sqrt(n), "D": normal((*batch, 3), 5).real.abs() + 1}
    move = {"U": normal((*batch, n, 3), 3) / np.sqrt(n), "D": normal((*batch, 3), 4).real}
    model = ul.UDU(rank=3)
    f, gradient = model.gradient(problem, factors)
    slope = sum((gradient[k].conj() * move[k]).sum(tuple(range(len(batch), move[k].ndim))).real for k in move)
    steps = 0.5 ** torch.arange(8, 16)
    ahead = [problem.objective(*(factors[k] + t * move[k] for k in "UD")) for t in steps]
    rest = torch.stack([(a - f - t * slope).abs() for a, t in zip(ahead, steps, strict=True)])
    slopes = np.polyfit(steps.log().numpy(), rest.reshape(len(steps), -1).log().numpy(), 1)[0]
    np.testing.assert_allclose(slopes, 2, atol=0.02)


def test_gradient_agrees_with_the_two_verbs(problem):
    U, V = (normal((*problem.batch_shape, problem.shape[0], 3), seed) for seed in (0, 1))
    D = normal((*problem.batch_shape, 3), 2).real.abs()
    for arguments in [(U,), (U, D), (U, D, V)]:
        for fast, slow in zip(problem.gradient(*arguments), Problem.gradient(problem, *arguments), strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(problem.objective(*arguments), problem.gradient(*arguments)[0])


def test_each_column_is_transformed_once(monkeypatch):
    """One transform there and one back for intensities and gradient together."""
    problem, seen = small(), []
    for name in ("fft2", "ifft2"):
        transform = getattr(torch.fft, name)
        monkeypatch.setattr(torch.fft, name, lambda x, f=transform, **k: seen.append(x.shape) or f(x, **k))
    problem.gradient(normal((problem.shape[0], 4)), torch.ones(4, dtype=torch.float64))
    assert seen == [(4, 9, 6, 6)] * 2


def test_stack_is_each_problem():
    problems = [small(seed=s) for s in (0, 1)]
    U = normal((problems[0].shape[0], 2))
    torch.testing.assert_close(
        ul.stack(problems).gradient(U)[1], torch.stack([problem.gradient(U)[1] for problem in problems])
    )


def test_a_batch_is_each_run_alone():
    problem, _ = ul.planted_ptychography(*smooth(16), window=8, grid=3, step=4, seed=[0, 1, 2])
    alone, _ = ul.planted_ptychography(*smooth(16), window=8, grid=3, step=4, seed=1)
    settings = {"step_size": 0.1, "iterations": 50, "init_scale": 1.0}
    many = ul.descend(problem, ul.UDU(rank=2), seed=[0, 1, 2], **settings)
    one = ul.descend(alone, ul.UDU(rank=2), seed=1, **settings)
    np.testing.assert_allclose(many.factors["U"][1], one.factors["U"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [(), (3,), (2, 1)])
def test_a_batch_in_parts_is_the_batch(monkeypatch, batch):
    """Stacked problems or one, with as many leading dimensions of U as they have, more, or none."""
    for problem in (small(), small(seed=[0, 1, 2]), ul.stack([small(seed=[0, 1, 2])])):
        U, D = normal((*batch, problem.shape[0], 2)), normal((*batch, 2), 1).real.abs()
        whole = problem.gradient(U, D), problem.gradient(U)
        with monkeypatch.context() as patch:
            patch.setattr(ptychography, "PART", 0)
            parts = problem.gradient(U, D), problem.gradient(U)
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


def test_single_precision_agrees():
    problem = small()
    U = normal((problem.shape[0], 3))
    single = problem.to(dtype=torch.complex64).gradient(U.to(torch.complex64))
    assert single[1].dtype == torch.complex64
    torch.testing.assert_close(single[1].to(U.dtype), problem.gradient(U)[1], rtol=1e-4, atol=1e-5)


# Units ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pupil", ["random", "circular"])
@pytest.mark.parametrize("noise", [None, ("poisson", 100.0)])
def test_normalisation_from_data_alone(pupil, noise):
    """The answer has trace s but for 2 %, whatever the unit of the data, and b has the norm asked for."""
    problem, truth = ul.planted_ptychography(*pictures(32), pupil=pupil, noise=noise, scale=6.0, theta=2.0)
    assert truth.singular_values == pytest.approx(6.0, rel=0.02)
    assert float(problem.b.square().sum()) == pytest.approx(0.85 * 2.0)
    x = torch.from_numpy(truth.spectrum)[:, None]
    if noise is None:
        torch.testing.assert_close(problem.measure(x, x), problem.b, rtol=1e-10, atol=1e-12)


def test_the_image_comes_back_in_the_unit_of_the_data():
    """Every sample is seen here, so that the image is the object itself."""
    amplitude, angle = smooth(10)
    _, truth = ul.planted_ptychography(amplitude, angle, window=6, grid=3, step=2, seed=[0, 1], scale=3.0)
    expected = (0.2 + 0.8 * amplitude) * np.exp(0.5j * np.pi * angle)
    np.testing.assert_allclose(truth.image, [expected, expected], rtol=1e-10, atol=1e-12)
    assert np.all(truth.psnr(truth.spectrum) > 200)


def test_relative_error_is_blind_to_the_global_phase():
    _, truth = ul.planted_ptychography(*smooth(10), window=6, grid=3, step=2)
    x, rng = truth.spectrum, np.random.default_rng(0)
    for angle in rng.uniform(0, 2 * np.pi, 5):
        assert truth.relative_error(1.1 * np.exp(1j * angle) * x) == pytest.approx(0.1)
    z = x + 0.3 * rng.standard_normal(len(x))
    by_search = min(np.linalg.norm(np.exp(1j * t) * z - x) for t in np.linspace(0, 2 * np.pi, 20001))
    assert truth.relative_error(z) == pytest.approx(by_search / np.linalg.norm(x), rel=1e-6)
    assert np.isnan(truth.relative_error({"U": np.full((len(x), 2), np.nan)}))


def test_leading_vector_is_that_of_the_product():
    rng = np.random.default_rng(0)
    factors = {"U": rng.standard_normal((2, 7, 3)) + 1j * rng.standard_normal((2, 7, 3)), "D": rng.random((2, 3))}
    values, vectors = np.linalg.eigh(product(factors))
    x, best = leading_vector(factors), vectors[..., -1] * np.sqrt(values[..., -1:])
    np.testing.assert_allclose(
        x[..., :, None] * x[..., None, :].conj(), best[..., :, None] * best[..., None, :].conj(), atol=1e-12
    )


def test_noise_is_what_was_asked_for():
    clean, _ = ul.planted_ptychography(*smooth(32))
    b = clean.b / clean.b.mean()
    for noise, expected in (
        (("gaussian", 0.01), 0.01),
        (("poisson", 1e4), float(b.mean() / 1e4 / b.square().mean()) ** 0.5),
    ):
        noisy, _ = ul.planted_ptychography(*smooth(32), noise=noise)
        difference = noisy.b / noisy.b.mean() - b
        assert float(difference.norm() / b.norm()) == pytest.approx(expected, rel=0.15)
        assert float(noisy.b.min()) >= 0


# The bars of Figure 2's experiment ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def figure_two():
    """Camera and cell, 25 illuminations of 16 x 16, 1000 iterations: UDU, then BM with the same and its fair step."""
    problem, truth = ul.planted_ptychography(*pictures(32), seed=SEEDS)

    def run(model, step_size):
        return ul.descend(
            problem, model, step_size=step_size, iterations=1000, init_scale=1.0, seed=SEEDS, record_at=[],
            dtype="float32",
        )  # fmt: skip

    bm = run(ul.BM(rank=4), np.array([[0.1], [0.8]]))
    return problem, truth, run(ul.UDU(rank=4), 0.1), bm


def ratio(trace):
    return trace.singular_values[..., 1] / trace.singular_values[..., 0]


def test_udu_ends_with_rank_one(figure_two):
    *_, udu, _ = figure_two
    assert np.all(ratio(udu) < 1e-10)
    assert ul.UDU(rank=4).is_feasible(udu.factors, tol=1e-5).all()


def test_bm_does_not(figure_two):
    *_, bm = figure_two
    assert np.all(ratio(bm)[0] > 1e-2)
    assert np.all(ratio(bm)[1] > 1e-3)


def test_udu_is_nearer_to_the_object(figure_two):
    _, truth, udu, bm = figure_two
    assert np.all(truth.relative_error(bm)[0] > 2.5 * truth.relative_error(udu))
    assert np.all(truth.psnr(udu) > truth.psnr(bm)[0] + 8)


def test_a_ball_as_large_as_the_answer_has_no_effect():
    """The negative control: with s = 1 UDU is no more of low rank than BM."""
    problem, _ = ul.planted_ptychography(*pictures(32), seed=SEEDS, scale=1.0)
    udu = ul.descend(
        problem,
        ul.UDU(rank=4),
        step_size=0.1,
        iterations=500,
        init_scale=1.0,
        seed=SEEDS,
        record_at=[],
        dtype="float32",
    )
    assert np.all(ratio(udu) > 1e-3)


# Dropping columns -----------------------------------------------------------------------------------------------------


def test_going_on_without_dead_columns_changes_nothing(figure_two):
    problem, _, udu, _ = figure_two
    live = live_columns(problem, udu, rtol=1e-15)
    assert live.rank == 1 and live.dropped == 3 and live.safe.all()
    settings = {"step_size": 0.1, "iterations": 20, "record_at": [], "dtype": "float64"}
    fewer = ul.descend(problem, ul.UDU(rank=1), start=live.start, **settings)
    all_ = ul.descend(problem, ul.UDU(rank=4), start=udu.factors, **settings)
    np.testing.assert_allclose(fewer.singular_values[..., 0], all_.singular_values[..., 0], rtol=1e-9)
    np.testing.assert_allclose(fewer.final_objective, all_.final_objective, rtol=1e-7)


def test_dropping_at_a_wrong_point_is_called_unsafe():
    """A critical point of rank one where the answer has rank two: only the dead column could find the rest."""
    truth = np.diag([3.0, 2.0, 0.0, 0.0])
    rows, cols = np.divmod(np.arange(16), 4)
    problem = ul.Completion(rows, cols, truth.ravel(), (4, 4), symmetric=True)
    wrong = {"U": np.array([[np.sqrt(3.0), 0.0], [0, 1e-20], [0, 0], [0, 0]])}
    trace = ul.descend(problem, ul.BM(rank=2), step_size=0.01, iterations=1, start=wrong)
    live = live_columns(problem, trace)
    assert live.rank == 1 and not live.safe
    assert live.escape == pytest.approx(2 / 3, rel=1e-6)


def test_live_columns_refuses_what_it_cannot_judge():
    problem, _ = ul.planted_completion(d=(4, 5), rank=1, observed=15)
    trace = ul.descend(problem, ul.UDV(rank=2), step_size=0.1, iterations=2)
    with pytest.raises(ul.InputError, match="factor V"):
        live_columns(problem, trace)


# What an imaging scientist would use ----------------------------------------------------------------------------------

RIVALS = [solvers.alternating_projection, solvers.pie, solvers.wirtinger_flow]


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("pupil", ["random", "circular"])
def test_the_truth_is_a_fixed_point(rival, pupil):
    problem, truth = ul.planted_ptychography(*smooth(16), window=8, grid=3, step=4, pupil=pupil, seed=[0, 1])
    run = rival(problem, start=truth.spectrum, iterations=3)
    assert run.estimates.shape == (2, 3, problem.shape[0])
    assert np.all(truth.relative_error(run.estimate) < 1e-10)


@pytest.mark.parametrize("rival", RIVALS)
def test_from_a_flat_start_each_finds_the_object(rival):
    problem, truth = ul.planted_ptychography(*smooth(32), seed=SEEDS[:2])
    assert np.all(truth.relative_error(rival(problem).estimate) < 0.02)


def test_alternating_projection_never_moves_away_from_the_moduli():
    """Error reduction: the distance to the measured moduli does not grow (Fienup 1982)."""
    problem, _ = ul.planted_ptychography(*smooth(16), window=8, grid=3, step=4)
    run = solvers.alternating_projection(problem, "random", iterations=30)
    moduli = problem.b.sqrt()
    misfits = [
        float((problem.measure(x, x).sqrt() - moduli).norm())
        for x in torch.from_numpy(run.estimates)[..., None].unbind(0)
    ]
    assert np.all(np.diff(misfits) <= 1e-12)


def test_wirtinger_flow_is_bm_with_one_column():
    problem, _ = ul.planted_ptychography(*smooth(16), window=8, grid=3, step=4)
    x = solvers.starting_spectrum(problem, "random", seed=3)
    run = solvers.wirtinger_flow(problem, x, iterations=25, step_size=0.3)
    bm = ul.descend(problem, ul.BM(rank=1), step_size=0.3, iterations=25, start={"U": x[:, None]})
    np.testing.assert_allclose(run.estimate, bm.factors["U"][:, 0], atol=1e-12)


def test_starts():
    problem, truth = ul.planted_ptychography(*pictures(32), seed=[0, 1])
    for start in retrieval.STARTS:
        x = solvers.starting_spectrum(problem, start, seed=[4, 5])
        assert x.shape == (2, 1024)
        np.testing.assert_allclose(np.linalg.norm(x, axis=-1) ** 2, problem.trace_estimate())
    flat = problem.image(solvers.starting_spectrum(problem, "flat"))
    np.testing.assert_allclose(flat, np.broadcast_to(flat[:, :1, :1], flat.shape), atol=1e-12)
    assert np.all(truth.relative_error(solvers.starting_spectrum(problem, "spectral")) < 0.8)


# Bad input ------------------------------------------------------------------------------------------------------------

ONES = np.ones((2, 4, 4))
BAD = {
    "outside": ((ONES, [[0, 0], [0, 3]], (4, 6), ONES), r"inside the spectrum of shape \(4, 6\); number 1"),
    "negative corner": ((ONES, [[0, -1], [0, 2]], (4, 6), ONES), "number 0 has corner"),
    "overlapping nothing": ((ONES, [[0, 0], [0, 4]], (4, 8), ONES), "share none with window 0"),
    "negative": ((ONES, [[0, 0], [0, 2]], (4, 6), ONES - 2), "smallest one of -1"),
    "NaN": ((ONES, [[0, 0], [0, 2]], (4, 6), ONES * np.nan), "32 NaN or infinite"),
    "infinite pupil": ((ONES * np.inf, [[0, 0], [0, 2]], (4, 6), ONES), "pupils holds 32 NaN or infinite"),
    "all dark": ((ONES, [[0, 0], [0, 2]], (4, 6), 0 * ONES), "all intensities are zero"),
    "complex": ((ONES, [[0, 0], [0, 2]], (4, 6), 1j * ONES), "complex"),
    "too few": ((ONES, [[0, 0], [0, 2]], (4, 6), ONES[:1]), "one intensity for each sample"),
    "not square": ((ONES[:, :3], [[0, 0], [0, 2]], (4, 6), ONES[:, :3]), r"shape \(L, w, w\)"),
    "corners": ((ONES, [[0, 0]], (4, 6), ONES), r"corners are whole numbers, shape \(2, 2\)"),
    "real corners": ((ONES, [[0.0, 0.0], [0.0, 2.0]], (4, 6), ONES), "corners are whole numbers"),
    "blind pupil": ((np.stack([ONES[0], 0 * ONES[0]]), [[0, 0], [0, 2]], (4, 6), ONES), "pupil 1 is zero everywhere"),
    "shape": ((ONES, [[0, 0], [0, 2]], (4,), ONES), "rows, columns"),
    "no illumination": ((ONES[:0], np.zeros((0, 2), int), (4, 6), ONES[:0]), "at least one illumination"),
}  # fmt: skip


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_bad_problem(arguments, message):
    with pytest.raises(ul.InputError, match=message):
        ul.Ptychography(*arguments)


BAD_PLANTED = {
    "range": ({"image": np.full((32, 32), 2.0)}, "between 0 and 1"),
    "shapes": ({"phase": np.zeros((32, 31))}, "one shape"),
    "too wide": ({"grid": 6}, "need 36 samples a side"),
    "pupil": ({"pupil": "square"}, "'random', 'circular'"),
    "noise": ({"noise": 0.1}, "'gaussian', level"),
    "noise level": ({"noise": ("gaussian", -1.0)}, "level of the noise"),
    "photons": ({"noise": ("poisson", 0.0)}, "photons of the noise"),
    "no overlap": ({"window": 8, "grid": 4, "step": 8}, "hang together"),
    "scale": ({"scale": 0.0}, "scale is a real number above zero"),
    "seed": ({"seed": [[0]]}, "sequence of integers"),
}


@pytest.mark.parametrize("change, message", BAD_PLANTED.values(), ids=BAD_PLANTED.keys())
def test_bad_planted(change, message):
    with pytest.raises(ul.InputError, match=message):
        ul.planted_ptychography(**{"image": np.ones((32, 32)), "phase": np.zeros((32, 32))} | change)


BAD_RIVALS = {
    "start": ({"start": "black"}, "flat, random, spectral"),
    "start size": ({"start": np.ones(3)}, r"shape \(\*, 100\)"),
    "iterations": ({"iterations": 0}, "at least 1"),
    "device": ({"device": "gpu"}, "device is"),
}


@pytest.mark.parametrize("change, message", BAD_RIVALS.values(), ids=BAD_RIVALS.keys())
@pytest.mark.parametrize("rival", RIVALS)
def test_bad_rivals(rival, change, message):
    with pytest.raises(ul.InputError, match=message):
        rival(small(), **change)


def test_bad_settings_of_one_rival():
    with pytest.raises(ul.InputError, match="below 1"):
        solvers.alternating_projection(small(), momentum=1.0)
    with pytest.raises(ul.InputError, match="step_size"):
        solvers.pie(small(), step_size=0.0)
    with pytest.raises(ul.InputError, match="a Ptychography"):
        solvers.pie(ul.planted_completion(d=4, rank=1, observed=9)[0])
    dark, _ = ul.planted_ptychography(*smooth(10), window=6, grid=1, step=1)
    assert solvers.starting_spectrum(dark, "flat").any()
    corner = ul.Ptychography(np.ones((1, 2, 2)), [[0, 0]], (8, 8), np.ones((1, 2, 2)))
    with pytest.raises(ul.InputError, match="middle of the spectrum"):
        solvers.pie(corner)


def test_stacked_problems_have_the_same_windows():
    shifted = ul.Ptychography(ONES, [[0, 0], [0, 1]], (4, 6), ONES)
    with pytest.raises(ul.InputError, match=r"agree|same windows"):
        ul.stack([ul.Ptychography(ONES, [[0, 0], [0, 2]], (4, 6), ONES), shifted])
    mirrored = ul.Ptychography(ONES, [[0, 2], [0, 0]], (4, 6), ONES)
    with pytest.raises(ul.InputError, match="same windows"):
        ul.stack([ul.Ptychography(ONES, [[0, 0], [0, 2]], (4, 6), ONES), mirrored])
