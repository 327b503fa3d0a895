"""Numbers, signs and colours, as pages and notebooks show them."""

import math

VERDICTS = {  # sign and colour; white text on each colour has a contrast of at least 4.5, on any page
    "reproduced": ("✓", "#1a7431"),
    "in part": ("◐", "#8a5a00"),
    "differs": ("✗", "#b3261e"),
    "not attempted": ("○", "#57606a"),
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number_text(x) -> str:
    """A number as people write it: whole, or three digits and a power of ten; yes and no for true and false.

    Examples
    --------
    >>> [number_text(x) for x in (True, 3, 0.0334, 3.1e-33, float("inf"))]
    ['yes', '3', '0.0334', '3.1·10⁻³³', '∞']
    """
    if isinstance(x, bool):
        return "yes" if x else "no"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == int(x) and abs(x) < 1e4:
        return f"{int(x)}".replace("-", "−")
    text = f"{x:.3g}" if 1e-3 <= abs(x) < 1e4 else f"{x:.2e}"
    digits, _, exponent = text.partition("e")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    if not exponent:
        return digits.replace("-", "−")
    digits = {"1": "", "-1": "−"}.get(digits, f"{digits}·").replace("-", "−")
    return f"{digits}10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def sign(verdict):
    return f"{VERDICTS[verdict][0]} " if verdict in VERDICTS else ""


def badge_html(verdict):
    sign, colour = VERDICTS[verdict]
    style = f"background: {colour}; color: #ffffff; padding: 0.1em 0.5em; border-radius: 0.3em; white-space: nowrap"
    return f'<strong style="{style}">{sign} {verdict}</strong>'
