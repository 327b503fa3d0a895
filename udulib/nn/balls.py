"""Back into the balls: norms, and what a factor is multiplied by, for many modules at once."""

from collections import defaultdict

import torch

from udulib.nn.shards import is_sharded, part_of, shard_norms


@torch.no_grad()
def project_all(modules):
    """Project modules of this file, those with the same settings together; what their balls multiplied by."""
    groups, shrinks, spread = defaultdict(list), [], []
    for module in modules:
        groups[module.ball, module.radius, module.U.device, module.U.dtype].append(module)
    for (ball, radius, *_), members in groups.items():
        factors = (matrix for module in members for matrix in (module.U, module.V))
        matrices = list({id(matrix): matrix for matrix in factors}.values())  # one that layers share: once
        spread += [(matrix, ball, radius) for matrix in matrices if is_sharded(matrix)]
        matrices = [matrix for matrix in matrices if not is_sharded(matrix)]
        if not matrices:
            continue
        if ball == "frobenius":
            shrinks.append(_shrink(torch.stack([_norm(matrix) for matrix in matrices]), radius))
            torch._foreach_mul_(matrices, list(shrinks[-1].to(matrices[0].dtype)))
        else:
            norms = [torch.linalg.vector_norm(matrix, dim=0, keepdim=True) for matrix in matrices]  # (1, hidden)
            torch._foreach_mul_(matrices, [_shrink(each, radius) for each in norms])
    if spread:
        shrinks += _project_shards(*zip(*spread, strict=True))
    diagonals = [part_of(module.D) for module in modules if module.nonnegative]
    if diagonals:
        torch._foreach_clamp_min_(diagonals, 0.0)
    for module in modules:
        module.watch.projected()
    return shrinks


def _project_shards(matrices, balls, radii):
    norms = shard_norms(matrices, [ball == "columns" for ball in balls])
    shrinks = [_shrink(norm, radius) for norm, radius in zip(norms, radii, strict=True)]
    for matrix, shrink in zip(matrices, shrinks, strict=True):
        part_of(matrix).mul_(shrink.to(matrix.dtype))
    return [shrink for shrink, ball in zip(shrinks, balls, strict=True) if ball == "frobenius"]


def inside(module, tol):
    factors = (getattr(module, letter).detach() for letter in "UDV")
    U, D, V = ((factor.full_tensor() if is_sharded(factor) else factor).double() for factor in factors)
    dims = (0, 1) if module.ball == "frobenius" else 0
    norms = [torch.linalg.vector_norm(matrix, dim=dims) for matrix in (U, V)]
    inside = all(bool((norm <= module.radius * (1 + tol)).all()) for norm in norms)
    return inside and bool(D.isfinite().all()) and not (module.nonnegative and bool((D < 0).any()))


def _norm(matrix):
    """Frobenius norm, by rows first: a float32 sum over a million squares at once is off by 1e-5 and more."""
    wide = torch.promote_types(matrix.dtype, torch.float32)
    return torch.linalg.vector_norm(torch.linalg.vector_norm(matrix, dim=1, dtype=wide))


def _shrink(norms, radius):
    """What to multiply by: R over the norm where it is outside, else exactly 1; NaN, not 0, where it overflowed."""
    return (radius / norms).clamp(max=1.0).masked_fill(norms.isinf(), torch.nan)
