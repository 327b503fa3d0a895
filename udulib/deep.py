"""Deep factorization: gradient descent on W₁ … W_N, and what is proved of it (see :mod:`udulib.theory.deep`)."""

from udulib.theory.deep import *  # noqa: F403
