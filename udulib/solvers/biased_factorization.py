"""Factors on top of row and column means: what recommenders are made of."""

from dataclasses import dataclass

import numpy as np

from udulib.errors import InputError
from udulib.seeds import generator
from udulib.solvers.fit import Fit, one_problem
from udulib.solvers.means import Means


@dataclass(frozen=True)
class BiasedFit(Fit):
    """A fit on top of :class:`Means`; ``product`` and ``entries`` include them."""

    means: Means = None

    def product(self):
        return super().product() + self.means.overall + self.means.rows[:, None] + self.means.cols

    def entries(self, rows, cols):
        return super().entries(rows, cols) + self.means.at(rows, cols)


def biased_factorization(problem, rank, ridge=0.02, step_size=0.01, epochs=20, start=None, seed=0):
    r"""Matrix factorization with row and column means, by stochastic gradient descent: ``MF`` of the library cornac.

    Parameters
    ----------
    problem : Completion
        One problem, not a stack; not symmetric.
    rank, ridge, step_size, epochs
        ``k``, ``lambda_reg``, ``learning_rate``, ``max_iter`` of ``cornac.models.MF``; the defaults are its own.
    start : BiasedFit, optional
        To go on from; random factors and no means if left out.
    seed : int, default 0
        Of the start, and of the order in which the entries are visited: cornac takes them as they come, every epoch.

    Returns
    -------
    BiasedFit

    Raises
    ------
    InputError
        If cornac is not installed, a stack, a symmetric problem.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=(30, 40), rank=2, observed=700, seed=0)
    >>> biased_factorization(problem, rank=5).product().shape  # doctest: +SKIP
    (30, 40)
    """
    one_problem(problem)
    if problem.symmetric:
        raise InputError("biased_factorization is for rectangular problems; got a symmetric one")
    try:
        from cornac.data import Dataset
        from cornac.models import MF
    except ImportError:
        raise InputError("biased_factorization runs cornac, which is not installed; pip install cornac") from None
    order = generator("biased factorization", seed).permutation(problem.b.shape[0])
    rows, cols, values = (array.numpy()[order] for array in (problem.rows, problem.cols, problem.b))
    names = [{i: i for i in range(n)} for n in problem.shape]
    given = {"k": rank, "lambda_reg": ridge, "learning_rate": step_size, "max_iter": epochs, "seed": seed}
    if start is not None:
        parts = start.factors | {"Bu": start.means.rows, "Bi": start.means.cols}
        given["init_params"] = {name: part.astype(np.float32) for name, part in parts.items()}
    model = MF(num_threads=1, **given)
    model.fit(Dataset(*problem.shape, *names, (rows, cols, values)))
    U, V, over_rows, over_cols = (
        np.asarray(part, float) for part in (model.u_factors, model.i_factors, model.u_biases, model.i_biases)
    )
    return BiasedFit({"U": U, "V": V}, np.empty(0), Means(float(model.global_mean), over_rows, over_cols))
