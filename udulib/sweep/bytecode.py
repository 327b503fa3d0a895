"""What Python has made of a function: its code as a text, and the names that it looks up beyond its own."""

import dis
from dataclasses import dataclass, field
from types import CodeType

LOOKS_UP = ("LOAD_GLOBAL", "LOAD_NAME")
ASKS = ("LOAD_ATTR", "LOAD_METHOD")
BETWEEN = ("EXTENDED_ARG", "PUSH_NULL", "NOP", "CACHE")  # may stand between a name and its attribute


@dataclass
class Names:
    """What code looks up: global names, each with the attributes asked of it, and what it imports when it runs.

    Attributes
    ----------
    chains : set of tuple of str
        ``("np", "linalg", "svd")`` for ``np.linalg.svd``. A name that is an attribute alone is not among them.
    imports : set of (int, str, tuple of str)
        Level, module and names of each import statement.
    """

    chains: set = field(default_factory=set)
    imports: set = field(default_factory=set)


def names_in(code):
    """The names of a code object and of all code inside it: comprehensions, generators, lambdas, functions, classes.

    Examples
    --------
    >>> def f(values):
    ...     return [math.floor(scale * value.shape) for value in values]
    >>> sorted(names_in(f.__code__).chains)
    [('math', 'floor'), ('scale',)]
    """
    found = Names()
    for part in _codes(code):
        chain, before = (), []
        for step in dis.get_instructions(part):
            if step.opname in BETWEEN:
                continue
            if step.opname in ASKS and chain:
                chain = (*chain, step.argval)
                continue
            if chain:
                found.chains.add(chain)
            chain = (step.argval,) if step.opname in LOOKS_UP else ()
            if step.opname == "IMPORT_NAME":
                level, names = before[-2:]
                found.imports.add((level, step.argval, names or ()))
            before = [*before[-1:], step.argval]
    return found


def _codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def code_text(code, content_of):
    """A text that tells code from other code, whatever lines it stands on; ``content_of`` tells a constant.

    Examples
    --------
    >>> one, two = compile("x + 1", "here", "eval"), compile("\\n\\n(x+1)  # the same", "there", "eval")
    >>> code_text(one, repr) == code_text(two, repr) != code_text(compile("x + 2", "", "eval"), repr)
    True
    """
    constants = [
        code_text(constant, content_of) if isinstance(constant, CodeType) else content_of(constant)
        for constant in code.co_consts
    ]
    takes = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return f"code {code.co_code.hex()} {code.co_exceptiontable.hex()} {takes} {names} [{', '.join(constants)}]"
