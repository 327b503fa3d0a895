"""Numbers as YAML and JSON hold them."""

from udulib.errors import InputError


def parsed_number(x):
    if not isinstance(x, str):
        return x
    try:
        return float(x)
    except ValueError:
        raise InputError(f"a number was wanted, such as 3, 1e-8 or inf; got {x!r}") from None
