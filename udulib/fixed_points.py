"""Fixed points of UDU, and the quantities its dynamics keep (see :mod:`udulib.theory.fixed_points`)."""

from udulib.theory.fixed_points import *  # noqa: F403
