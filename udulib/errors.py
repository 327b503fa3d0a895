"""The one error that udulib raises for bad input."""


class InputError(ValueError):
    """An argument that cannot be used. The message says what was wanted, what came, and what to do."""
