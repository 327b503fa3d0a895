"""Balls of matrices whose parts lie with several processes: one sum over the processes for all balls together."""

from collections import defaultdict

import torch


def is_sharded(tensor):
    """Whether it is a ``DTensor``, of which this process has a part.

    Examples
    --------
    >>> is_sharded(torch.ones(2))
    False
    """
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "to_local")


def part_of(tensor):
    """What of a tensor this process has.

    Examples
    --------
    >>> part_of(torch.ones(2))
    tensor([1., 1.])
    """
    return tensor.to_local() if is_sharded(tensor) else tensor


def shard_norms(matrices, by_columns):
    """Norms of sharded matrices, each as one number or, where so asked, as one for each of its columns.

    All processes of a mesh have to call this with the same matrices. The squares of all go round in one vector, once
    for each dimension of the mesh. What comes back fits the part that this process has.
    """
    meshes = defaultdict(list)
    for i, matrix in enumerate(matrices):
        meshes[matrix.device_mesh].append(i)
    norms = [None] * len(matrices)
    for mesh, members in meshes.items():
        squares = [_squares(matrices[i], by_columns[i]) for i in members]
        total = torch.cat(squares).to(mesh.device_type)
        for dim in range(mesh.ndim):
            torch.distributed.all_reduce(total, group=mesh.get_group(dim))
        for i, norm in zip(members, total.sqrt().split([len(each) for each in squares]), strict=True):
            norm = norm.to(part_of(matrices[i]).device)
            norms[i] = norm[_columns(matrices[i])] if by_columns[i] else norm
    return norms


def _squares(matrix, by_columns):
    """What this process adds to the squared norms of the whole matrix, in float64: (1,) or (columns,)."""
    copies = 1  # of this part that there are
    for dim, placement in enumerate(matrix.placements):
        copies *= matrix.device_mesh.size(dim) if placement.is_replicate() else 1
    part = part_of(matrix).double()
    if not by_columns:
        return part.square().sum().reshape(1) / copies
    squares = part.new_zeros(matrix.shape[1])
    squares[_columns(matrix)] = part.square().sum(0) / copies
    return squares


def _columns(matrix):
    """Which columns this process has."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor  # loaded with a mesh, slow without

    placements = [Shard(0) if placement.is_shard(1) else Replicate() for placement in matrix.placements]
    every = torch.arange(matrix.shape[1], device=part_of(matrix).device)
    return distribute_tensor(every, matrix.device_mesh, placements, src_data_rank=None).to_local()
