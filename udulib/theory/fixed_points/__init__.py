r"""Where UDU can stop, and how it moves: residuals of Lemma 1 and Proposition 1, and the laws of the dynamics.

Throughout, :math:`X = U\,\mathrm{diag}(D)\,U^{\mathsf H}`, :math:`G = \nabla f(X)`, :math:`u_j` is a column of U and
:math:`\lambda_j` its entry of D, :math:`q_j = u_j^{\mathsf H} G u_j` its *slope*, and the update is

.. math:: U^+ = c\,\bar U, \quad \bar U = U - 2\eta\,G U D, \quad c = \min(1, \alpha / \|\bar U\|_F), \qquad
          \lambda_j^+ = \max(\bar\lambda_j, 0), \quad \bar\lambda_j = \lambda_j - \eta\,q_j .

A column is *live* if :math:`\lambda_j > 0`, *dead* if :math:`\lambda_j = 0`, and *zero* if :math:`u_j = 0`.
"""

from udulib.theory.fixed_points.replicator import Replicator, conserved, replicator, shrink_law
from udulib.theory.fixed_points.representation import from_burer_monteiro, represent
from udulib.theory.fixed_points.residuals import Residuals, gradient, residuals, step

__all__ = [
    "Replicator",
    "Residuals",
    "conserved",
    "from_burer_monteiro",
    "gradient",
    "replicator",
    "represent",
    "residuals",
    "shrink_law",
    "step",
]
