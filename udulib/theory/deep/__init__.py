r"""Deep matrix factorization: gradient descent on a product of N square factors, and what can be said about it exactly.

The setting of Chou, Gieshoff, Maly and Rauhut (2024), *Gradient descent for deep matrix factorization*. For a symmetric
target :math:`\widehat W \in \mathbb R^{n \times n}` and a depth :math:`N \ge 2`,

.. math::

   \min_{W_1, \dots, W_N} \tfrac12 \|W_N \cdots W_1 - \widehat W\|_F^2, \qquad
   W_j \leftarrow W_j - \eta\, (W_N \cdots W_{j+1})^\top (W - \widehat W) (W_{j-1} \cdots W_1)^\top,

with :math:`W = W_N \cdots W_1` and all factors started at :math:`\alpha I` (*identical* initialisation). Then the
eigenvalues evolve one by one. Every formula here was derived for this project; the derivations are on the page *Deep
matrix factorization: the theory* of the book. The constants of the paper were not at hand and may differ.

Letters: ``target`` is an eigenvalue :math:`\lambda` of :math:`\widehat W`, ``depth`` is :math:`N`, ``scale`` is
:math:`\alpha`, ``step_size`` is :math:`\eta`, and ``level`` is a value of :math:`d^N`, the product's eigenvalue.
"""

from udulib.theory.deep.largest_step import step_bound
from udulib.theory.deep.matrix_descent import Descent, descend
from udulib.theory.deep.plateaus import Plateau, longest_plateau, plateau
from udulib.theory.deep.recovery_times import recovery_steps
from udulib.theory.deep.recursion import Eigenvalues, eigenvalues

__all__ = [
    "Descent",
    "Eigenvalues",
    "Plateau",
    "descend",
    "eigenvalues",
    "longest_plateau",
    "plateau",
    "recovery_steps",
    "step_bound",
]
