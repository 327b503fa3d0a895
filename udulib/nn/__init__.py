r"""UDV as a layer of a PyTorch network, and the projection that belongs to it.

The layer of the paper is linear, diagonal, linear, without activation and without bias (equations 6 and 7):

.. math::

   \varphi(x) = V\,\mathrm{diag}(D)\,U^\top x = \sum_{j=1}^m D_j\,v_j\,(u_j^\top x), \qquad
   \|U\|_F \le R,\quad \|V\|_F \le R,\quad D \ge 0 .

A *neuron* j is the column :math:`u_j`, the number :math:`D_j` (the paper's :math:`w_j`) and the column :math:`v_j`. The
set is kept by projection: the optimizer moves the factors as it likes, then U and V are rescaled into their balls and D
is clipped at zero. Two lines make a network of it::

    model = nn.Sequential(backbone, UDVLinear(1280, 10, hidden=427))
    attach(optimizer, model)  # from now on optimizer.step() ends with the projection

`attach` serves any module that keeps a simple protocol: it has factors ``U``, ``D`` and ``V`` as parameters of its own,
and a method ``project_()`` that puts them back into their set in place. Classes derived from `UDVFactors` have it all.

Where others write the loop, `udulib.nn.lightning` and `udulib.nn.transformers` have the projection as a callback.

Letters: ``in_features`` is d, ``out_features`` is c, ``hidden`` is m, ``radius`` is R.
"""

from udulib.nn.conv import UDVConv2d
from udulib.nn.convert import convert
from udulib.nn.diagnosis import Diagnosis, diagnose
from udulib.nn.layer import VARIANTS, UDVFactors, UDVLinear
from udulib.nn.projection import CollapseWarning, PrecisionWarning, Projection, attach, feasible, project_, udv_modules
from udulib.nn.retraction import retraction_experiment
from udulib.nn.suggested_radius import radius_of, suggest_radius
from udulib.nn.watch import UnprojectedWarning, notice_steps

__all__ = [
    "VARIANTS",
    "CollapseWarning",
    "Diagnosis",
    "PrecisionWarning",
    "Projection",
    "UDVConv2d",
    "UDVFactors",
    "UDVLinear",
    "UnprojectedWarning",
    "attach",
    "convert",
    "diagnose",
    "feasible",
    "notice_steps",
    "project_",
    "radius_of",
    "retraction_experiment",
    "suggest_radius",
    "udv_modules",
]
