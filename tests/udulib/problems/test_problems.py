"""Problems: adjoint identities, fast paths against the two verbs, and bad input."""

import numpy as np
import pytest
import torch
from cases import PROBLEMS, completion_problem, sensing_problem

import udulib as ul
from udulib.problems import completion
from udulib.problems.base import Problem


@pytest.fixture(params=PROBLEMS, ids=PROBLEMS.keys())
def problem(request):
    return PROBLEMS[request.param]()


@pytest.fixture(params=["dense", "by entries"])
def workspace(request, monkeypatch):
    if request.param == "by entries":
        monkeypatch.setattr(completion, "DENSE_PER_ENTRY", 0)
        monkeypatch.setattr(completion, "CHUNK", 40)


def normal(problem, rows, r=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if problem.is_complex else torch.float64
    return torch.randn(*problem.batch_shape, rows, r, dtype=dtype, generator=generator)


def dense(operator, columns):
    return operator @ torch.eye(columns, dtype=torch.complex128 if operator_is_complex(operator) else torch.float64)


def operator_is_complex(operator):
    return isinstance(operator, torch.Tensor) and operator.is_complex()


def test_adjoint_identity(problem, workspace):
    """<A(X), y> = <X, A*(y)> for real y."""
    L, R = normal(problem, problem.shape[0]), normal(problem, problem.shape[1], seed=1)
    y = normal(problem, problem.b.shape[-1], seed=2)[..., 0].real
    left = (problem.measure(L, R) * y).sum(-1)
    right = (dense(problem.adjoint(y), problem.shape[1]).conj() * (L @ R.mH)).sum((-2, -1)).real
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_adjoint_conjugate_transpose(problem, workspace):
    G = problem.adjoint(normal(problem, problem.b.shape[-1])[..., 0].real)
    torch.testing.assert_close(dense(G.mH, problem.shape[0]), dense(G, problem.shape[1]).mH)


def test_gradient_agrees_with_the_two_verbs(problem, workspace):
    """The fast path gives what composing measure and adjoint gives."""
    U, V = normal(problem, problem.shape[0]), normal(problem, problem.shape[1], seed=1)
    D = normal(problem, 3, seed=2)[..., 0].real.abs()
    for arguments in [(U, D, V)] + [(U, D), (U,)] * problem.symmetric:
        fast, slow = problem.gradient(*arguments), Problem.gradient(problem, *arguments)
        for a, b in zip(fast, slow, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(fast[0], problem.objective(*arguments), rtol=1e-12, atol=1e-12)


def test_completion_objective_is_its_definition(workspace):
    """Half the sum of squares over the entries, (i, j) and (j, i) counted apart."""
    problem = ul.Completion([0, 1, 2, 2], [1, 0, 2, 0], [1.0, 2.0, 3.0, 4.0], (3, 3), symmetric=True)
    U = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    assert float(problem.objective(U)) == pytest.approx(0.5 * (1 + 0 + 36 + 1))
    assert float(problem.gradient(U)[0]) == pytest.approx(0.5 * (1 + 0 + 36 + 1))


def test_completion_gradient_is_symmetrised(workspace):
    """One entry (0, 1) puts half its residual at (0, 1) and half at (1, 0), as the authors' code does."""
    problem = ul.Completion([0], [1], [1.0], (2, 2), symmetric=True)
    G = dense(problem.adjoint(torch.tensor([2.0], dtype=torch.float64)), 2)
    torch.testing.assert_close(G, torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64))


def test_large_completion_makes_no_dense_matrix():
    """A million rows and ten entries: d x d numbers would not fit."""
    d = 10**6
    problem = ul.Completion(np.arange(10), np.arange(10) + d - 10, np.ones(10), (d, d), symmetric=True)
    U = torch.ones(d, 2, dtype=torch.float64)
    objective, GU, _ = problem.gradient(U)
    assert not problem.dense
    assert float(objective) == pytest.approx(5.0)
    assert float(GU.sum()) == pytest.approx(20.0)


def test_stack_is_each_problem():
    problems = [completion_problem(seed=s) for s in (3, 4)]
    U = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = ul.stack(problems).objective(U)
    torch.testing.assert_close(both, torch.stack([p.objective(U) for p in problems]))


def test_planted_truth_solves_its_problem():
    for make in (ul.planted_completion, ul.planted_sensing):
        for d, keys in ((12, ["U", "D"]), ((9, 12), ["U", "D", "V"])):
            problem, truth = make(d, 2, 60, spectrum=(2.0, 1.0), seed=[5, 6])
            factors = [torch.from_numpy(truth.factors[name]) for name in keys]
            assert np.allclose(problem.objective(*factors), 0, atol=1e-28)
            assert np.linalg.svd(truth.product(), compute_uv=False)[:, :3] == pytest.approx(np.array([[2, 1, 0]] * 2))


def test_planted_gaussian_factors():
    """Without a spectrum X = A Aᵀ with standard normal A: the mean of trace(X) is d times the rank."""
    _, truth = ul.planted_completion(d=200, rank=3, observed=1, seed=range(10))
    assert truth.factors["D"].sum(-1).mean() == pytest.approx(600, rel=0.05)


def test_planted_noise_is_relative_to_the_data():
    clean, _ = ul.planted_completion(d=100, rank=3, observed=5000, spectrum=(3.0, 2.0, 1.0), seed=1)
    noisy, _ = ul.planted_completion(d=100, rank=3, observed=5000, spectrum=(3.0, 2.0, 1.0), seed=1, noise=0.3)
    assert float((noisy.b - clean.b).norm() / clean.b.norm()) == pytest.approx(0.3, rel=0.05)


def test_problem_and_start_of_one_seed_are_independent():
    """Seed 0 of the truth and seed 0 of the start come from different streams."""
    _, truth = ul.planted_completion(d=50, rank=3, observed=100, seed=0)
    problem, _ = ul.planted_completion(d=50, rank=3, observed=100, seed=0)
    U0 = ul.descend(problem, ul.BM(rank=3), step_size=1e-12, iterations=1, seed=0).factors["U"]
    overlap = np.linalg.norm(truth.factors["U"].T @ np.linalg.qr(U0)[0])
    assert overlap < 0.9  # of at most sqrt(3); random subspaces give about 0.42


E0 = {"rows": [0, 1], "cols": [1, 1], "values": [1.0, 2.0], "shape": (2, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [0]}, "one length"),
        ({"rows": [0, 2]}, "between 0 and 1"),
        ({"rows": [0, -1]}, "between 0 and 1"),
        ({"rows": [0.0, 1.0]}, "integers"),
        ({"values": [1.0, np.nan]}, "NaN"),
        ({"values": [1.0, np.inf]}, "NaN or infinite"),
        ({"values": [1.0, 2.0j]}, "real"),
        ({"values": ["a", "b"]}, "numbers"),
        ({"rows": [0, 0]}, "given 2 times; combine"),
        ({"rows": np.array([], int), "cols": np.array([], int), "values": []}, "at least one entry"),
        ({"shape": (2, 3), "symmetric": True}, "square"),
        ({"shape": (2, 0)}, "at least 1"),
        ({"shape": (2, 2, 2)}, "rows, columns"),
        ({"shape": 2}, "rows, columns"),
    ],
)
def test_completion_refuses(change, message):
    with pytest.raises(ul.InputError, match=message):
        ul.Completion(**{**E0, **change})


@pytest.mark.parametrize(
    ("matrices", "b", "symmetric", "message"),
    [
        (np.ones((2, 3, 3)), [1.0], None, "one number in b"),
        (np.ones((0, 3, 3)), [], None, "at least one"),
        (np.ones((3, 3)), [1.0], None, "3 dimension"),
        (np.ones((1, 2, 3)), [1.0], True, "square"),
        (np.full((1, 2, 2), np.nan), [1.0], None, "NaN"),
        (np.ones((1, 2, 2)), [1.0j], None, "real"),
    ],
)
def test_sensing_refuses(matrices, b, symmetric, message):
    with pytest.raises(ul.InputError, match=message):
        ul.Sensing(matrices, b, symmetric)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "at least 1"),
        ({"rank": 11}, "at most 10"),
        ({"observed": 101}, "at most 100"),
        ({"spectrum": (1.0,)}, "2 value"),
        ({"spectrum": (1.0, -1.0)}, "above zero"),
        ({"noise": -0.1}, "at least zero"),
        ({"noise": [0.1, 0.2]}, "one number"),
        ({"seed": -1}, "non-negative"),
        ({"seed": [[1]]}, "sequence of integers"),
        ({"d": (3, 4, 5)}, "rows, columns"),
    ],
)
def test_planted_refuses(change, message):
    with pytest.raises(ul.InputError, match=message):
        ul.planted_completion(**{"d": 10, "rank": 2, "observed": 50, "spectrum": (2.0, 1.0), **change})


def test_stack_refuses():
    with pytest.raises(ul.InputError, match="at least one problem"):
        ul.stack([])
    with pytest.raises(ul.InputError, match="agree in class, shape and size"):
        ul.stack([completion_problem(), completion_problem(entries=26)])


# Hidden, and beyond all numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["rows", "cols", "values"])
def test_what_a_masked_array_hides_is_not_taken_for_data(place):
    arguments = {"rows": np.array([0, 1]), "cols": np.array([0, 1]), "values": np.array([1.0, 2.0])}
    ul.Completion(**arguments | {place: np.ma.array(arguments[place], mask=[0, 0])}, shape=(2, 2))  # hides nothing
    with pytest.raises(ul.InputError, match="hides 1 of them"):
        ul.Completion(**arguments | {place: np.ma.array(arguments[place], mask=[0, 1])}, shape=(2, 2))


@pytest.mark.parametrize("shape", [(2**33, 2**33), (2**63, 1), (10**30, 10**30)])
def test_a_shape_whose_entries_cannot_be_counted_is_refused(shape):
    with pytest.raises(ul.InputError, match=r"fewer than 2\*\*63 entries"):
        ul.Completion([0, 1], [0, 0], [1.0, 2.0], shape)


def test_a_shape_just_below_is_counted_right():
    """Two different entries that are one where the product wraps around."""
    problem = ul.Completion([0, 2**30], [5, 5], [1.0, 2.0], (2**31, 2**31))
    with pytest.raises(ul.InputError, match=r"twice|repeat|more than once"):
        ul.Completion([2**30, 2**30], [5, 5], [1.0, 2.0], (2**31, 2**31))
    assert problem.shape == (2**31, 2**31)


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_symmetric_sensing_problem_has_symmetric_gradients(is_complex):
    """Of matrices that are not: a symmetric X sees their symmetric part alone."""
    problem = sensing_problem(symmetric=True, is_complex=is_complex)
    G = problem.adjoint(torch.ones(12, dtype=torch.float64))
    assert torch.allclose(G, G.mH, rtol=0, atol=1e-14)


def test_entries_one_by_one_give_what_the_whole_matrix_gives(monkeypatch):
    """Where no dense workspace is made: objective, and the gradients of both factors."""
    rng = np.random.default_rng(0)
    U, V = torch.from_numpy(rng.standard_normal((6, 3))), torch.from_numpy(rng.standard_normal((8, 3)))
    dense = completion_problem(False, shape=(6, 8))
    monkeypatch.setattr("udulib.problems.completion.DENSE_PER_ENTRY", 0)
    sparse = completion_problem(False, shape=(6, 8))
    assert dense.dense and not sparse.dense
    for one, other in zip(dense.gradient(U, None, V), sparse.gradient(U, None, V), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_sensing_finds_out_whether_it_is_symmetric():
    symmetric, not_quite = np.array([[[1.0, 2.0], [2.0, 0.0]]]), np.array([[[1.0, 2.0], [2.0 + 1e-6, 0.0]]])
    assert ul.Sensing(symmetric, [1.0]).symmetric and not ul.Sensing(not_quite, [1.0]).symmetric


def test_each_seed_plants_a_problem_of_its_own():
    both, truths = ul.planted_completion(d=6, rank=1, observed=20, seed=[0, 1])
    one, truth = ul.planted_completion(d=6, rank=1, observed=20, seed=1)
    assert torch.equal(both.b[1], one.b) and not torch.equal(both.b[0], one.b)
    assert np.array_equal(truths.product()[1], truth.product())


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_an_error_is_relative_to_the_truth(size):
    truth = ul.planted_completion(d=6, rank=2, observed=20, spectrum=(2 * size, size), seed=0)[1]
    assert truth.relative_error(np.zeros((6, 6))) == pytest.approx(1.0)
    assert truth.relative_error(1.5 * truth.product()) == pytest.approx(0.5)
