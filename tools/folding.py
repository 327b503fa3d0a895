"""Which code the book folds: what sets up, draws or keeps the books, and what is long. In the notebook all is open."""

import ast

LONGEST = 20  # lines of code that stand open
KEEPING = {"table", "display", "Markdown", "ledger", "figures", "checks", "rows"}


def fold(cell):
    """Tag a cell whose code the book folds."""
    tags = cell.metadata.setdefault("tags", [])
    if cell.cell_type == "code" and not hidden(tags) and is_folded(cell.source):
        tags.append("hide-input")


def hidden(tags):
    return any(tag.startswith(("hide-", "remove-")) for tag in tags)


def is_folded(source):
    """Whether a cell imports, holds the settings, draws a figure, does nothing but keep the books, or is long.

    Examples
    --------
    >>> is_folded("ledger.record('rank', ranks, seeds=seeds)"), is_folded("trace = ul.descend(problem, model)")
    (True, False)
    """
    body = ast.parse(source).body
    called = {ast.unparse(node.func) for node in ast.walk(ast.Module(body, [])) if isinstance(node, ast.Call)}
    imports = bool(body) and isinstance(body[0], ast.Import | ast.ImportFrom)
    settings = any("settings" in assigned(part) for part in body)
    draws = any(name == "figures.show" or name.startswith("plt.") for name in called)
    keeps = bool(body) and all(map(keeps_books, body))
    return imports or settings or draws or keeps or code_lines(source) > LONGEST


def assigned(part):
    """The names that a statement gives a value; of ``checks[...] = ...`` it is ``checks``."""
    targets = part.targets if isinstance(part, ast.Assign) else []
    return {first_name(target) for target in targets}


def keeps_books(part):
    """Whether a statement fills tables, records and checks alone."""
    if isinstance(part, ast.For):
        return all(map(keeps_books, part.body))
    names = {first_name(part.value)} if isinstance(part, ast.Expr) else assigned(part)
    return bool(names) and names <= KEEPING


def first_name(node):
    """The name at the front of ``name.attribute[place](...)``."""
    while not isinstance(node, ast.Name | ast.Constant):
        inner = [getattr(node, field, None) for field in ("func", "value")]
        node = next((one for one in inner if isinstance(one, ast.AST)), ast.Constant(None))
    return getattr(node, "id", None)


def code_lines(source):
    return sum(bool(line.strip()) for line in source.splitlines())
