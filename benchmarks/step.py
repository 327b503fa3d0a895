"""Time of one step on the paper's completion problem, one thread: ``OMP_NUM_THREADS=1 python benchmarks/step.py``.

Ours, by loop and by kernels, against what a reader would write with autograd or in NumPy, and against the operations
that must be done at the rate at which this machine multiplies matrices. And in single precision the steps after a
hundred thousand, when most columns have decayed to nothing, against the first ones.
"""

from functools import partial

import numpy as np
import torch
from _timing import shortest, write
from autograd_loop import autograd_loop

import udulib as ul

D, OBSERVED, STEP_SIZE = 100, 900, 0.1
REPEATS = 15
DECAYED = 100_000
STEPS = {"autograd": 60, "numpy": 100, "loop": 100, "numba": 4000}  # of one repeat, some hundredths of a second


def main():
    torch.set_num_threads(1)
    problem, _ = ul.planted_completion(d=D, rank=3, observed=OBSERVED, spectrum=(3.0, 2.0, 1.0), seed=0)
    kinds = [(model, dtype) for dtype in ("float64", "float32") for model in (ul.UDU, ul.BM)]
    table = {f"{model.__name__}_{dtype}": row(problem, model, dtype) for model, dtype in kinds}
    fresh, decayed = once_decayed(problem)
    show(table, fresh, decayed)
    udu = table["UDU_float64"]
    write(
        udu_step_over_autograd=udu["over_autograd"],
        udu_step_over_flops=udu["over_flops"],
        float32_decayed_over_fresh=decayed / fresh,
        step={"d": D, "rank": D, "entries": OBSERVED, **table},
    )


def row(problem, model, dtype):
    """Microseconds a step of each way to do it, for one model in one precision."""
    rng = np.random.default_rng(0)
    start = {"U": rng.standard_normal((D, D)) / D, "D": np.ones(D)}
    problem = problem.to(dtype=getattr(torch, dtype))
    factors = {name: torch.from_numpy(factor).to(problem.b.dtype) for name, factor in start.items()}
    square = torch.ones(1000, 1000, dtype=problem.b.dtype)

    def ours(engine, steps):
        trace = ul.descend(
            problem,
            model(rank=D),
            step_size=STEP_SIZE,
            iterations=steps,
            start={name: start[name] for name in model.names},
            record_at=[],
            dtype=dtype,
            engine=engine,
        )
        return trace.factors

    def reader(steps):
        observed = problem.rows, problem.cols, problem.b
        if model is ul.BM:
            return {"U": autograd_bm(*observed, factors["U"], STEP_SIZE, steps)}
        U, lam = autograd_loop(*observed, factors["U"], factors["D"], STEP_SIZE, steps)
        return {"U": U, "D": lam}

    ways = {
        "autograd": reader,
        "numpy": lambda steps: numpy_loop(problem, start, model, dtype, steps),
        "loop": lambda steps: ours("loop", steps),
        "numba": lambda steps: ours("numba", steps),
    }
    check_agreement([way(30) for way in ways.values()], dtype)
    contenders = {name: partial(way, STEPS[name]) for name, way in ways.items()}
    contenders["product"] = lambda: square @ square
    seconds = shortest(contenders, REPEATS)
    microseconds = {name: 1e6 * seconds[name] / STEPS[name] for name in STEPS}
    rate = 2e9 / seconds["product"]
    return {
        "microseconds": microseconds,
        "over_autograd": microseconds["autograd"] / microseconds["numba"],
        "over_flops": microseconds["numba"] / (1e6 * flops(problem, model) / rate),
        "gigaflops_of_products": rate / 1e9,
    }


def once_decayed(problem):
    """Microseconds a step of UDU in single precision: of the first thousand, and of a thousand after DECAYED."""
    run = dict(step_size=STEP_SIZE, record_at=[], dtype="float32", engine="numba")
    settled = ul.descend(problem, ul.UDU(D), iterations=DECAYED, **run).factors

    def steps(start):
        return lambda: ul.descend(problem, ul.UDU(D), iterations=1000, start=start, **run)

    seconds = shortest({"fresh": steps(None), "decayed": steps(settled)}, REPEATS)
    return 1e3 * seconds["fresh"], 1e3 * seconds["decayed"]


def check_agreement(results, dtype):
    for result in results[1:]:
        for name, factor in result.items():
            np.testing.assert_allclose(factor, results[0][name], atol=1e-12 if dtype == "float64" else 1e-5)


def flops(problem, model):
    """What a step must do: measure each pair once, move both its rows, and pass a few times over the factor."""
    i, j = problem.rows.numpy(), problem.cols.numpy()
    pairs = np.unique(np.minimum(i, j) * D + np.maximum(i, j))
    moved = 2 * len(pairs) - np.count_nonzero(pairs // D == pairs % D)
    passes = 8 if model is ul.UDU else 2  # times D, move, gradient of D, norm, shrink; for BM only the move
    return 2 * D * (len(pairs) + moved) + passes * D * D


def autograd_bm(rows, cols, values, U, step_size, iterations):
    """BM as a reader of the paper would write it, in the style of ``autograd_loop``."""
    U = U.clone().requires_grad_()
    optimizer = torch.optim.SGD([U], lr=step_size)
    for _ in range(iterations):
        optimizer.zero_grad()
        loss = 0.5 * (((U @ U.T)[rows, cols] - values) ** 2).sum()
        loss.backward()
        optimizer.step()
    return U.detach()


def numpy_loop(problem, start, model, dtype, iterations):
    """UDU or BM in NumPy, with the gradient by hand and dense products."""
    W = np.zeros((D, D), dtype)
    np.add.at(W, (problem.rows.numpy(), problem.cols.numpy()), 0.5)
    W = W + W.T
    T = np.zeros((D, D), dtype)
    np.add.at(T, (problem.rows.numpy(), problem.cols.numpy()), problem.b.numpy() / 2)
    T = np.divide(T + T.T, W, where=W > 0, out=np.zeros_like(W))
    U, lam = start["U"].astype(dtype), start["D"].astype(dtype)
    eta = U.dtype.type(STEP_SIZE)
    for _ in range(iterations):
        GU = (W * ((U * lam) @ U.T - T)) @ U
        if model is ul.UDU:
            U, lam = U - 2 * eta * GU * lam, np.maximum(lam - eta * (U * GU).sum(axis=0), 0)
            U *= 1 / max(1, np.linalg.norm(U))
        else:
            U = U - 2 * eta * GU
    return {"U": U, "D": lam} if model is ul.UDU else {"U": U}


def show(table, fresh, decayed):
    print(f"d = r = {D}, {OBSERVED} entries, one thread; microseconds a step")
    print(f"{'':12}{'autograd':>10}{'NumPy':>10}{'loop':>10}{'numba':>10}{'autograd/numba':>16}{'numba/FLOPs':>13}")
    for name, line in table.items():
        times = "".join(f"{line['microseconds'][way]:10.1f}" for way in STEPS)
        print(f"{name:12}{times}{line['over_autograd']:15.1f}x{line['over_flops']:12.2f}x")
    print(f"UDU_float32 after {DECAYED} iterations: {decayed:.1f}, {decayed / fresh:.2f} times the first thousand")


if __name__ == "__main__":
    main()
