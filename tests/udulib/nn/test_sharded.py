"""Factors that lie with two processes (gloo, on CPU): the same numbers as with one, and one collective a step."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn

from udulib import InputError, lora
from udulib.nn import VARIANTS, UDVConv2d, UDVLinear, attach, feasible, project_

STEPS = 50
X = torch.randn(32, 12, generator=torch.Generator().manual_seed(0))
Y = X @ torch.randn(12, 3, generator=torch.Generator().manual_seed(1))


def network(layers=2):
    """Layers of all variants, one behind the other, and what does not divide by two."""
    torch.manual_seed(0)
    variants = list(VARIANTS.values())
    inner = [UDVLinear(12, 12, hidden=7 + i, radius=1.5, **variants[i % 4]) for i in range(layers)]
    return nn.Sequential(*inner, UDVLinear(12, 3, hidden=5, bias=True))


def steps(model, optimizer, number, x=X, y=Y):
    for _ in range(number):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        assert feasible(model)


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.01)


def whole(model):
    return {n: p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for n, p in model.named_parameters()}


def alone(number=STEPS, layers=4):
    model = network(layers)
    optimizer = adam(model)
    attach(optimizer, model)
    steps(model, optimizer, number)
    return model, optimizer


def same(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)


def state(model, optimizer):
    from torch.distributed.checkpoint.state_dict import get_state_dict

    return dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))


def fully_sharded(layers, mesh):
    from torch.distributed.fsdp import fully_shard

    model = network(layers)
    for layer in model:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def split(model, mesh, placements):
    """Each factor of each layer as a DTensor; the layers then want and give such."""
    from torch.distributed.tensor import Replicate, distribute_tensor

    for layer in model:
        for name, parameter in list(layer.named_parameters()):
            where = placements.get(name, [Replicate()] * mesh.ndim)
            setattr(layer, name, nn.Parameter(distribute_tensor(parameter.detach(), mesh, where)))
    return model


def under_fsdp(mesh, folder):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict

    model = fully_sharded(4, mesh)
    optimizer = adam(model)
    attach(optimizer, model)
    half = slice(16 * dist.get_rank(), 16 * dist.get_rank() + 16)
    steps(model, optimizer, STEPS, X[half], Y[half])
    same(whole(model), whole(alone()[0]))
    dcp.save(state(model, optimizer), checkpoint_id=f"{folder}/of_two")

    again = fully_sharded(4, mesh)  # what one process wrote, onto two
    optimizer = adam(again)
    attach(optimizer, again)
    read = state(again, optimizer)
    dcp.load(read, checkpoint_id=f"{folder}/of_one")
    set_state_dict(again, optimizer, model_state_dict=read["model"], optim_state_dict=read["optimizer"])
    same(whole(again), whole(alone(20)[0]))
    steps(again, optimizer, STEPS - 20, X[half], Y[half])
    same(whole(again), whole(alone()[0]))


def one_collective(mesh, folder):
    from torch.distributed.tensor.debug import CommDebugMode

    for layers in (1, 4, 12):
        model = fully_sharded(layers, mesh)
        with CommDebugMode() as seen:
            project_(model)
        assert seen.get_total_counts() == 1, (layers, seen.get_comm_counts())


def tensor_sharded(mesh, folder):
    """Neurons on both sides, or rows, each trained as with one process."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    x = distribute_tensor(X, mesh, [Replicate()])
    neurons, rows = {"U": Shard(1), "D": Shard(0), "V": Shard(1)}, {"U": Shard(0), "D": Replicate(), "V": Shard(0)}
    for placements in (neurons, rows):
        model = split(network(4), mesh, {letter: [where] for letter, where in placements.items()})
        optimizer = adam(model)
        attach(optimizer, model)
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x).full_tensor(), Y).backward()
            optimizer.step()
            assert feasible(model)
        same(whole(model), whole(alone()[0]))


def two_dimensions(mesh, folder):
    """A mesh with copies along one of its dimensions: they are not counted twice."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard

    expected = network()
    project_(expected)
    for shape in ((2, 1), (1, 2)):
        both = init_device_mesh("cpu", shape)
        for where in ([Replicate(), Shard(0)], [Shard(1), Shard(0)], [Shard(0), Replicate()]):
            model = split(network(), both, {"U": where, "V": where})
            project_(model)
            same(whole(model), whole(expected))


def other_layers(mesh, folder):
    """Convolutions and adapters are projected alike."""
    from torch.distributed.fsdp import fully_shard

    def model():
        torch.manual_seed(0)
        net = nn.Sequential(UDVConv2d(3, 4, 3, hidden=5), nn.Linear(6, 4))
        lora.add(net, ["1"], rank=3, radius=0.01)
        return net.requires_grad_(True)

    expected, net = model(), fully_shard(model(), mesh=mesh)
    project_(expected)
    project_(net)
    same(whole(net), whole(expected))


def flat_is_refused(mesh, folder):
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = FullyShardedDataParallel(network(), use_orig_params=True, device_id=torch.device("cpu"))
    with pytest.raises(InputError, match="laid flat"):
        attach(adam(model), model)


CHECKS = (under_fsdp, one_collective, tensor_sharded, two_dimensions, other_layers, flat_is_refused)


def process(rank, address, folder):
    from torch.distributed.device_mesh import init_device_mesh

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for check in CHECKS:
        check(mesh, folder)
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own, about gloo and CPU
def test_two_processes_equal_one(tmp_path):
    """All checks in one pair of processes, since their start is what takes long; then what they wrote, read by one."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict

    dcp.save(state(*alone(20)), checkpoint_id=tmp_path / "of_one", no_dist=True)
    torch.multiprocessing.spawn(process, args=(f"file://{tmp_path}/meeting", str(tmp_path)), nprocs=2)
    model = network(4)
    optimizer = adam(model)
    attach(optimizer, model)
    read = state(model, optimizer)
    dcp.load(read, checkpoint_id=tmp_path / "of_two", no_dist=True)
    set_state_dict(model, optimizer, model_state_dict=read["model"], optim_state_dict=read["optimizer"])
    expected, expected_optimizer = alone()
    same(whole(model), whole(expected))
    steps(model, optimizer, 10)
    steps(expected, expected_optimizer, 10)
    same(whole(model), whole(expected))
