"""The factors of all runs as one matrix each, and back."""

import torch


def joined(factors):
    """U and V above each other, (runs, rows, r), and D, (runs, r); both new."""
    U = factors["U"]
    rank = U.shape[-1]
    sides = [factors[name].reshape(-1, factors[name].shape[-2], rank) for name in ("U", "V") if name in factors]
    D = factors["D"].reshape(-1, rank).clone() if "D" in factors else U.new_ones(len(sides[0]), rank)
    return torch.cat(sides, dim=1) if len(sides) > 1 else sides[0].clone(), D


def parted(matrix, diagonal, like):
    """The factors ``like`` those given, out of both."""
    rows_u = like["U"].shape[-2]
    parts = {"U": matrix[:, :rows_u], "D": diagonal, "V": matrix[:, rows_u:]}
    return {name: parts[name].reshape(factor.shape) for name, factor in like.items()}
