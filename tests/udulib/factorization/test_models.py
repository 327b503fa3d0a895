"""Models: gradients against finite differences, updates against the paper's formulas, projections."""

import numpy as np
import pytest
import torch
from cases import PROBLEMS

import udulib as ul

MODELS = {"BM": ul.BM(rank=3), "UDU": ul.UDU(rank=3), "UV": ul.UV(rank=3), "UDV": ul.UDV(rank=3)}
CASES = [
    (m, p) for m in MODELS for p in PROBLEMS if "symmetric" in p or "Herm" in p or p == "stack" or m in ("UV", "UDV")
]


def random_factors(model, problem, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = model.sizes(problem)
    kinds = {name: torch.complex128 if problem.is_complex and name != "D" else torch.float64 for name in sizes}
    return {n: torch.randn(*problem.batch_shape, *sizes[n], dtype=kinds[n], generator=generator) for n in sizes}


@pytest.mark.parametrize(("model", "problem"), CASES)
def test_gradient_slope(model, problem):
    """The error of the linear model falls with the square of the step: slope 2."""
    model, problem = MODELS[model], PROBLEMS[problem]()
    at, along = random_factors(model, problem, 0), random_factors(model, problem, 1)
    f0, gradients = model.gradient(problem, at)
    linear = sum((gradients[n].conj() * along[n]).real.sum() for n in at)
    steps, errors = np.logspace(-2, -4, 7), []
    for h in steps:
        f, _ = model.gradient(problem, {n: at[n] + h * along[n] for n in at})
        errors.append(abs(float((f - f0).sum() - h * linear)))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(2, abs=0.02)


def test_udu_update_is_the_paper_s(tmp_path):
    """Equation 5 with symmetrised residual, written out in NumPy: 40 steps from a start outside the ball."""
    rng = np.random.default_rng(0)
    d, r, eta, alpha = 8, 5, 0.05, 0.7
    observed = rng.random((d, d)) < 0.5
    X0 = np.outer(*[rng.standard_normal(d)] * 2)
    rows, cols = np.nonzero(observed)
    problem = ul.Completion(rows, cols, X0[rows, cols], (d, d), symmetric=True)
    U0, D0 = 0.4 * rng.standard_normal((d, r)), rng.random(r)
    assert np.linalg.norm(U0) > alpha

    U, D, objectives = U0, D0, []
    for _ in range(40):
        residual = observed * ((U * D) @ U.T - X0)
        objectives.append(0.5 * np.sum(residual**2))
        grad_U = (residual + residual.T) @ U * D
        grad_D = np.diag(U.T @ residual @ U)
        U = U - eta * grad_U
        U = U * min(1, alpha / np.linalg.norm(U))
        D = np.maximum(D - eta * grad_D, 0)

    trace = ul.descend(
        problem, ul.UDU(r, alpha), step_size=eta, iterations=40, start={"U": U0, "D": D0}, record_at=range(40)
    )
    assert trace.objective == pytest.approx(np.array(objectives), rel=1e-10)
    assert trace.factors["U"] == pytest.approx(U, abs=1e-12)
    assert trace.factors["D"] == pytest.approx(D, abs=1e-12)


def test_bm_update_is_the_paper_s():
    """Equation 3: U - 2 eta grad f U."""
    problem = PROBLEMS["sensing, symmetric"]()
    U0 = np.random.default_rng(0).standard_normal((5, 3))
    A, b = problem.matrices.numpy(), problem.b.numpy()
    G = np.tensordot(np.tensordot(A, U0 @ U0.T) - b, A, axes=1)
    trace = ul.descend(problem, ul.BM(3), step_size=0.01, iterations=1, start={"U": U0})
    assert trace.factors["U"] == pytest.approx(U0 - 0.02 * G @ U0, abs=1e-12)


def test_udv_update_is_the_rectangular_one():
    """U - eta G V D, V - eta Gᵀ U D, D - eta diag(Uᵀ G V): no factor 2, both balls."""
    problem = PROBLEMS["sensing"]()
    rng = np.random.default_rng(0)
    U0, V0, D0 = rng.standard_normal((4, 3)), rng.standard_normal((6, 3)), rng.random(3)
    A, b, eta, alpha = problem.matrices.numpy(), problem.b.numpy(), 0.01, 1.5
    G = np.tensordot(np.tensordot(A, (U0 * D0) @ V0.T) - b, A, axes=1)
    U, V = U0 - eta * G @ V0 * D0, V0 - eta * G.T @ U0 * D0
    U, V = (W * min(1, alpha / np.linalg.norm(W)) for W in (U, V))
    start = {"U": U0, "D": D0, "V": V0}
    trace = ul.descend(problem, ul.UDV(3, alpha), step_size=eta, iterations=1, start=start)
    assert trace.factors["U"] == pytest.approx(U, abs=1e-12)
    assert trace.factors["V"] == pytest.approx(V, abs=1e-12)
    assert trace.factors["D"] == pytest.approx(np.maximum(D0 - eta * np.diag(U0.T @ G @ V0), 0), abs=1e-12)


@pytest.mark.parametrize("name", ["UDU", "UDV"])
@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5])
def test_factors_stay_feasible(name, radius):
    problem, _ = ul.planted_completion(d=15, rank=2, observed=100, spectrum=(5.0, 2.0), seed=1)
    model = getattr(ul, name)(rank=6, radius=radius)
    trace = ul.descend(problem, model, step_size=[0.01, 0.3, 2.0], iterations=200, init_scale=3.0, d_init=2.0)
    assert model.is_feasible(trace.factors).all()


def test_projection_leaves_the_inside_alone_and_puts_the_outside_on_the_sphere():
    model, radius = ul.UDU(rank=2), torch.tensor([5.0, 1.0], dtype=torch.float64)
    U, D = torch.ones(2, 4, 2, dtype=torch.float64), torch.tensor([[1.0, -1.0], [0.5, 0.0]], dtype=torch.float64)
    factors, shrink = model.project({"U": U.clone(), "D": D.clone()}, radius)
    assert torch.equal(factors["U"][0], U[0])
    assert float(factors["U"][1].norm()) == pytest.approx(1)
    assert torch.equal(factors["D"], D.clamp(min=0))
    assert shrink.tolist() == pytest.approx([0, np.log(np.sqrt(8))])


def test_feasibility_notices_each_violation():
    inside = {"U": np.full((2, 2), 0.5), "D": np.ones(2)}
    model = ul.UDU(rank=2)
    assert model.is_feasible(inside)
    assert not model.is_feasible({**inside, "U": inside["U"] * 1.01})
    assert not model.is_feasible({**inside, "D": np.array([1.0, -1e-12])})
    assert not model.is_feasible({**inside, "U": np.full((2, 2), np.nan)})
    assert not model.is_feasible({**inside, "D": np.array([1.0, np.inf])})
    assert not ul.UV(rank=2).is_feasible({"U": np.eye(2), "V": np.full((2, 2), np.inf)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ul.BM(rank=0), "rank is a whole number of at least 1"),
        (lambda: ul.UDU(rank=2.5), "whole number"),
        (lambda: ul.UDU(rank=2, radius=0.0), "radius is a real number above zero"),
        (lambda: ul.UDV(rank=2, radius=[1.0, -1.0]), "above zero"),
        (lambda: ul.UDU(rank=2, radius=np.nan), "NaN"),
    ],
)
def test_models_refuse(make, message):
    with pytest.raises(ul.InputError, match=message):
        make()
