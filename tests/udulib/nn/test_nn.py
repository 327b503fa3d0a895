"""The UDV layer: its formula, its set after every step of every optimizer, and life inside PyTorch."""

import copy
import io
import itertools
import os

import numpy as np
import pytest
import torch
from torch import nn

from udulib.errors import InputError
from udulib.nn import (
    VARIANTS,
    CollapseWarning,
    UDVFactors,
    UDVLinear,
    attach,
    convert,
    diagnose,
    feasible,
    project_,
    radius_of,
    retraction_experiment,
    suggest_radius,
    udv_modules,
)

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.03),
    "Adam foreach": lambda p: torch.optim.Adam(p, lr=0.03, foreach=True),
    "Adam fused": lambda p: torch.optim.Adam(p, lr=0.03, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.03),
    "LBFGS": lambda p: torch.optim.LBFGS(p, max_iter=4),
    "LBFGS with line search": lambda p: torch.optim.LBFGS(p, max_iter=4, line_search_fn="strong_wolfe"),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def task(n=32, inputs=12, outputs=3, seed=0):
    """Inputs, and targets of a linear map that needs more than the unit balls allow without D."""
    rng = generator(seed)
    x = torch.randn(n, inputs, generator=rng)
    return x, x @ torch.randn(inputs, outputs, generator=rng)


def closure(model, optimizer, x, y):
    def evaluate():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    return evaluate


# --- the layer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("bias", [False, True])
def test_output_is_the_sum_over_neurons(activation, bias):
    layer = UDVLinear(7, 4, hidden=5, activation=activation, bias=bias, dtype=torch.float64, generator=generator())
    x = torch.randn(2, 3, 7, dtype=torch.float64, generator=generator(1))
    expected = torch.zeros(2, 3, 4, dtype=torch.float64) if layer.bias is None else layer.bias.expand(2, 3, 4).clone()
    for u, d, v in zip(layer.U.T, layer.D, layer.V.T, strict=True):
        inner = d * (x @ u)
        expected = expected + (inner.clamp(min=0) if activation else inner)[..., None] * v
    torch.testing.assert_close(layer(x), expected)


def test_gradients_against_finite_differences():
    layer = UDVLinear(4, 2, hidden=3, dtype=torch.float64, generator=generator())
    x = torch.randn(5, 4, dtype=torch.float64, generator=generator(1))

    def output(U, D, V):
        return torch.func.functional_call(layer, {"U": U, "D": D, "V": V}, (x,))

    assert torch.autograd.gradcheck(output, tuple(layer.parameters()))


def test_start_is_the_papers():
    """U within 1/sqrt(in), D and V within 1/sqrt(hidden), all of them spread evenly; equal for equal generators."""
    layer, twin = (UDVLinear(400, 200, hidden=900, generator=generator(3)) for _ in range(2))
    for factor, width in ((layer.U, 400), (layer.D, 900), (layer.V, 900)):
        scaled = factor.detach() * width**0.5
        assert 0.99 < scaled.abs().max() <= 1
        assert scaled.var() == pytest.approx(1 / 3, rel=0.1)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), twin.parameters(), strict=True))


# --- the set ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("radius", [0.3, 1.0, 50.0])
def test_projection_equals_its_definition(name, radius, dtype):
    """The nearest point of the set: a rescaled matrix (or column) where it is outside, and the positive part of D."""
    layer = UDVLinear(30, 20, hidden=25, radius=radius, dtype=dtype, generator=generator(), **VARIANTS[name])
    U, D, V = (factor.detach().double() for factor in (layer.U, layer.D, layer.V))
    layer.project_()
    dims = (0, 1) if layer.ball == "frobenius" else 0
    for before, after in ((U, layer.U), (V, layer.V)):
        norms = torch.linalg.vector_norm(before, dim=dims, keepdim=True)
        expected = torch.where(norms > radius, before * radius / norms, before)
        torch.testing.assert_close(after.detach().double(), expected, rtol=3e-7, atol=0)
    assert torch.equal(layer.D.detach().double(), D.clamp(min=0) if layer.nonnegative else D)


def test_what_is_inside_stays_as_it_is():
    layer = UDVLinear(6, 5, hidden=4, radius=100.0, nonnegative=False, generator=generator())
    before = copy.deepcopy(layer.state_dict())
    layer.project_()
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_norm_of_a_million_entries_is_right():
    """Summed at once in float32 it is off by 1e-5, and the factor would end outside its ball."""
    layer = UDVLinear(1280, 1280, hidden=1280, generator=generator()).project_()
    for factor in (layer.U, layer.V):
        assert abs(float(factor.detach().double().norm()) - 1) < 1e-6


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("hidden", [1, 10, 60])
@pytest.mark.parametrize("variant", VARIANTS)
def test_feasible_after_every_step(name, hidden, variant):
    x, y = task()
    layer = UDVLinear(12, 3, hidden=hidden, generator=generator(), **VARIANTS[variant])
    optimizer = OPTIMIZERS[name](layer.parameters())
    attach(optimizer, layer)
    start = layer.U.detach().clone()
    for _ in range(50):
        optimizer.step(closure(layer, optimizer, x, y))
        U, D, V = (factor.detach().double() for factor in (layer.U, layer.D, layer.V))
        for factor in (U, V):
            norms = factor.norm() if layer.ball == "frobenius" else factor.norm(dim=0)
            assert (norms <= 1 + 1e-6).all()
        assert not layer.nonnegative or (D >= 0).all()
        assert feasible(layer)
    assert not torch.equal(layer.U, start)


@pytest.mark.parametrize("ball", ["frobenius", "columns"])
def test_a_factor_in_two_places_is_projected_once(ball):
    """Shared by two layers, by U and V of one, or in a list that names its layer twice: it ends on the sphere."""
    one, other = (UDVLinear(30, 30, hidden=25, ball=ball, generator=generator(seed)) for seed in (0, 1))
    other.U, other.V = one.U, one.U
    for model in (nn.Sequential(one, other), [one, one], other):
        nn.init.ones_(one.U)
        project_(model)
        norms = torch.linalg.vector_norm(one.U.detach(), dim=(0, 1) if ball == "frobenius" else 0)
        torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize("ball", ["frobenius", "columns"])
def test_a_norm_that_overflows_is_not_taken_for_zero(ball):
    """Divergence shows: NaN, which is not feasible; the other factors are projected as ever."""
    layer = UDVLinear(6, 5, hidden=4, ball=ball, generator=generator())
    with torch.no_grad():
        layer.U.fill_(1e20)  # squares beyond float32
    layer.project_()
    assert layer.U.isnan().all() and layer.V.isfinite().all()
    assert not feasible(layer)


def test_feasible_says_no():
    """To each way of being outside."""
    layer = UDVLinear(6, 5, hidden=4, generator=generator()).project_()
    assert feasible(layer)
    for letter, value in itertools.product("UDV", (-3.0, float("nan"))):
        broken = copy.deepcopy(layer)
        with torch.no_grad():
            getattr(broken, letter).view(-1)[0] = value
        assert not feasible(broken)
    columns = UDVLinear(6, 5, hidden=4, ball="columns", generator=generator()).project_()
    with torch.no_grad():
        columns.V[:, 2] *= 1.1 / columns.V[:, 2].norm()
    assert not feasible(columns)


# --- attach -----------------------------------------------------------------------------------------------------------


class Adapter(nn.Module):
    """The protocol and nothing else."""

    def __init__(self):
        super().__init__()
        self.U, self.D, self.V = (nn.Parameter(torch.full(shape, -2.0)) for shape in ((3, 2), (2,), (4, 2)))
        self.times = 0

    def project_(self):
        self.times += 1
        with torch.no_grad():
            self.D.clamp_(min=0)


def stepped(model, *more):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    projection = attach(optimizer, model, *more)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer, projection


def test_any_class_with_the_protocol_is_projected():
    """By its own project_, once a step; a class derived from UDVFactors by the common one."""

    class Derived(UDVFactors):
        pass

    derived = Derived(3, 2, 4)
    with torch.no_grad():
        for parameter in derived.parameters():
            parameter.fill_(-5.0)
    model = nn.Sequential(Adapter(), nn.Sequential(derived, UDVLinear(30, 20, hidden=25)))
    assert list(udv_modules(model)) == ["0", "1.0", "1.1"]
    stepped(model)
    assert model[0].times == 1
    assert (model[0].D == 0).all()
    assert feasible(model)


def test_project_of_mixed_models_equals_one_by_one():
    layers = [
        UDVLinear(30, 20, hidden=9, radius=radius, dtype=dtype, generator=generator(), **VARIANTS[name])
        for name, radius, dtype in itertools.product(VARIANTS, (0.5, 2.0), (torch.float32, torch.float64))
    ]
    together, alone = nn.ModuleList(layers), copy.deepcopy(layers)
    project_(together)
    for layer, twin in zip(layers, alone, strict=True):
        twin.project_()
        assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), twin.parameters(), strict=True))


def test_attached_twice_projects_once_and_remove_removes():
    model = Adapter()
    optimizer, first = stepped(model)
    second = attach(optimizer, model)
    optimizer.step()
    assert model.times == 2
    first.remove()
    optimizer.step()
    assert model.times == 3
    second.remove()
    optimizer.step()
    assert model.times == 3


def test_resumed_run_equals_the_uninterrupted_one():
    """Model and optimizer through state_dict, then attach again."""
    x, y = task()

    def made():
        model = UDVLinear(12, 3, hidden=10, generator=generator())
        optimizer = torch.optim.NAdam(model.parameters(), lr=0.02)
        attach(optimizer, model)
        return model, optimizer

    model, optimizer = made()
    for _ in range(5):
        optimizer.step(closure(model, optimizer, x, y))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    stored = torch.load(file)
    resumed, second = made()
    resumed.load_state_dict(stored["model"])
    second.load_state_dict(stored["optimizer"])
    for _ in range(5):
        optimizer.step(closure(model, optimizer, x, y))
        second.step(closure(resumed, second, x, y))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))
    assert feasible(resumed)


def test_deepcopy_is_a_model_of_its_own_and_wants_its_own_attach():
    """A copied optimizer has no hooks: PyTorch does not copy them."""
    x, y = task()
    model = UDVLinear(12, 3, hidden=10, generator=generator())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    attach(optimizer, model)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    optimizer.step(closure(model, optimizer, x, y))
    assert feasible(model)
    assert not torch.equal(model.U, twin.U)
    twin_optimizer.step(closure(twin, twin_optimizer, x, y))
    assert not feasible(twin)
    attach(twin_optimizer, twin)
    twin_optimizer.step(closure(twin, twin_optimizer, x, y))
    assert feasible(twin)


# --- life inside PyTorch ----------------------------------------------------------------------------------------------


def test_learning_rate_schedulers():
    x, y = task()
    model = UDVLinear(12, 3, hidden=10, generator=generator())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    attach(optimizer, model)
    for scheduler in (
        torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=10),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
    ):
        for _ in range(10):
            optimizer.step(closure(model, optimizer, x, y))
            scheduler.step()
            assert feasible(model)


def test_accumulated_gradients_equal_one_batch():
    """The projection comes with the step, not with backward."""
    x, y = task()
    models = [UDVLinear(12, 3, hidden=10, dtype=torch.float64, generator=generator()) for _ in range(2)]
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.02) for model in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        attach(optimizer, model)
    x, y = x.double(), y.double()
    for _ in range(10):
        optimizers[0].step(closure(models[0], optimizers[0], x, y))
        optimizers[1].zero_grad()
        for part in (slice(0, 16), slice(16, 32)):
            (nn.functional.mse_loss(models[1](x[part]), y[part]) / 2).backward()
        optimizers[1].step()
        for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_automatic_mixed_precision(dtype):
    """Factors and projection stay in float32, outputs are lower; a step that the scaler skips leaves all as it is."""
    x, y = task()
    model = UDVLinear(12, 3, hidden=10, generator=generator())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(optimizer, model)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            output = model(x)
        assert output.dtype == dtype
        scaler.scale(nn.functional.mse_loss(output.float(), y)).backward()
        scaler.step(optimizer)
        scaler.update()
        assert feasible(model)
    before = copy.deepcopy(model.state_dict())
    scaler.scale(model(x).sum() * float("inf")).backward()
    scaler.step(optimizer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch's own, when inductor is loaded
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_training_equals_plain_training(backend):
    """In one graph, without breaks."""
    x, y = task()
    models = [UDVLinear(12, 3, hidden=10, activation="relu", generator=generator()) for _ in range(2)]
    compiled = torch.compile(models[1], backend=backend, fullgraph=True)
    for model, called in zip(models, (models[0], compiled), strict=True):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        attach(optimizer, called)
        for _ in range(5):
            optimizer.step(closure(called, optimizer, x, y))
        assert feasible(model)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


def train_half(rank, address, results):
    """One of two processes: half of the batch each, gradients averaged between them."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    x, y = task()
    half = slice(16 * rank, 16 * rank + 16)
    model = UDVLinear(12, 3, hidden=10, generator=generator())
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.3, momentum=0.9)
    attach(optimizer, parallel)
    for _ in range(5):
        optimizer.step(closure(parallel, optimizer, x[half], y[half]))
        assert feasible(parallel)
    torch.save(model.state_dict(), f"{results}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    """DistributedDataParallel over gloo: both processes end with the same factors, those of one process alone."""
    address = f"file://{tmp_path}/meeting"
    torch.multiprocessing.spawn(train_half, args=(address, str(tmp_path)), nprocs=2)
    x, y = task()
    model = UDVLinear(12, 3, hidden=10, generator=generator())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    attach(optimizer, model)
    for _ in range(5):
        optimizer.step(closure(model, optimizer, x, y))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, value in model.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)


# --- diagnostics ------------------------------------------------------------------------------------------------------


def planted_layer():
    """Four neurons: 6, 3, a tiny one and a dead one, on coordinate axes."""
    layer = UDVLinear(5, 6, hidden=4, radius=2.0, dtype=torch.float64)
    with torch.no_grad():
        layer.U.copy_(torch.eye(5)[:, :4])
        layer.V.copy_(torch.eye(6)[:, :4] / 2)
        layer.D.copy_(torch.tensor([12.0, 6.0, 1e-3, 0.0]))
    return layer


def test_diagnosis_of_a_planted_layer():
    found = diagnose(nn.Sequential(planted_layer()))["0"]
    np.testing.assert_allclose(found.contributions, [6, 3, 5e-4, 0])
    np.testing.assert_allclose(found.spectrum, [12, 6, 1e-3, 0])
    np.testing.assert_allclose(found.map_spectrum[:4], [6, 3, 5e-4, 0])
    assert (found.hidden, found.alive, found.zeros, found.bottleneck) == (4, 2, 1, True)
    assert found.pressure == pytest.approx((1.0, 0.5))
    assert found.effective_rank == pytest.approx(np.exp(-sum(p * np.log(p) for p in (2 / 3, 1 / 3))), rel=2e-3)
    assert diagnose(planted_layer(), tol=1e-5)[""].alive == 3
    assert diagnose(planted_layer(), tol=0.6)[""].alive == 1  # of the largest, which is 6


def trained(learning_rate, kind=torch.optim.SGD):
    x, y = task()
    model = UDVLinear(12, 3, hidden=20, radius=2.0, generator=generator())
    optimizer = kind(model.parameters(), lr=learning_rate)
    attach(optimizer, model)
    for _ in range(250):
        optimizer.step(closure(model, optimizer, x, y))
    return diagnose(model)[""]


def test_a_learning_rate_that_kills_neurons_is_warned_of():
    """A moderate one, which keeps as many neurons as there are outputs, is not."""
    assert not trained(0.03).bottleneck
    with pytest.warns(CollapseWarning, match="Lower the learning rate"):
        found = trained(1.0)
    assert found.bottleneck


def test_the_warning_comes_once():
    """Adam at this rate leaves the balls far behind in each of its steps."""
    with pytest.warns(CollapseWarning) as caught:
        trained(1.0, torch.optim.Adam)
    assert len(caught) == 1


# --- radius -----------------------------------------------------------------------------------------------------------


def test_suggested_radius_is_that_of_the_least_squares_map():
    rng = generator()
    x, weight = torch.randn(300, 6, generator=rng), torch.randn(4, 6, generator=rng)
    y = x @ weight.T + 0.1 * torch.randn(300, 4, generator=rng)
    solution = torch.linalg.lstsq(x, y).solution.T
    assert suggest_radius(x, y, iterations=50) == pytest.approx(radius_of(solution), rel=1e-4)
    assert radius_of(8 * solution) == pytest.approx(2 * radius_of(solution))
    layer = nn.Linear(6, 4)
    assert radius_of(layer) == radius_of(layer.weight)


def test_suggested_radius_for_classes_that_overlap_does_not_depend_on_the_iterations():
    rng = generator()
    y = torch.randint(0, 4, (400,), generator=rng)
    x = torch.randn(4, 10, generator=rng)[y] + 2.0 * torch.randn(400, 10, generator=rng)
    short, long = (suggest_radius(x.numpy(), y.numpy(), iterations=n) for n in (20, 80))
    assert short == pytest.approx(long, rel=1e-2)


def test_suggested_radius_takes_arrays_as_they_come():
    """Read backwards, read-only, in bfloat16, or as lists."""
    x = torch.randn(60, 5, generator=generator())
    y = x @ torch.diag(torch.tensor([8.0, 4, 0, 0, 0]))
    classes = (x[:, 0] > 0).long()
    fixed = y.numpy().copy()
    fixed.flags.writeable = False
    expected = suggest_radius(x, y)
    assert suggest_radius(x, fixed) == suggest_radius(x.tolist(), y.tolist()) == expected
    assert suggest_radius(x.numpy()[::-1], y.numpy()[::-1]) == pytest.approx(expected, rel=1e-5)
    assert suggest_radius(x.bfloat16(), y.bfloat16()) == pytest.approx(expected, rel=1e-2)
    assert suggest_radius(x, classes.tolist()) == suggest_radius(x, classes.numpy().astype(np.uint8))
    assert suggest_radius(x.numpy()[::-1], classes.numpy()[::-1]) == pytest.approx(suggest_radius(x, classes), rel=1e-3)


def test_radius_of_a_layer_in_bfloat16():
    layer = nn.Linear(3, 3)
    assert radius_of(layer.bfloat16()) == radius_of(layer.weight.float())


# --- convert ----------------------------------------------------------------------------------------------------------


def small_net():
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 5, bias=False)), nn.Linear(5, 3))


def test_convert_replaces_linear_layers_and_nothing_else():
    net = small_net().double().eval()
    biases = [net[0].bias.clone(), net[3].bias.clone()]
    same = convert(net, hidden=lambda d, c: d + c, skip=["2.0"], radius=2.0, ball="columns")
    assert same is net
    assert {name: module.hidden for name, module in udv_modules(net).items()} == {"0": 14, "3": 8}
    assert type(net[2][0]) is nn.Linear
    assert torch.equal(net[0].bias, biases[0]) and torch.equal(net[3].bias, biases[1])
    assert net[0].radius == 2.0 and net[0].ball == "columns" and not net[0].training
    assert all(parameter.dtype == torch.float64 for parameter in net.parameters())
    assert isinstance(convert(nn.Linear(4, 2), hidden=3), UDVLinear)


@pytest.mark.parametrize("ball", ["frobenius", "columns"])
def test_convert_from_svd_keeps_the_function_inside_the_balls(ball):
    net = small_net()
    x = torch.randn(9, 8, generator=generator())
    before = net(x)
    convert(net, hidden=min, start="svd", ball=ball, radius=0.7)
    assert feasible(net)
    torch.testing.assert_close(net(x), before)
    pressures = [found.pressure for found in diagnose(net).values()]
    np.testing.assert_allclose(pressures, 1, rtol=1e-5)


def test_convert_from_svd_to_fewer_neurons_is_the_best_approximation():
    linear = nn.Linear(8, 6, bias=False, dtype=torch.float64)
    layer = convert(linear, hidden=2, start="svd")
    values = torch.linalg.svdvals(linear.weight)
    assert (layer.weight - linear.weight).norm().item() == pytest.approx(values[2:].norm().item())


def test_a_layer_in_two_places_is_converted_once():
    shared = nn.Linear(4, 4)
    net = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)})
    convert(net, hidden=3)
    assert net["a"] is net["b"][0]
    assert isinstance(net["a"], UDVLinear)


def test_biases_are_kept_as_they_are():
    """Frozen ones stay frozen, and one that two layers share stays one."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(5, 3), nn.Linear(3, 2))
    net[1].bias = net[0].bias
    net[2].bias.requires_grad_(False)
    shared, frozen = net[0].bias, net[2].bias
    convert(net, hidden=2)
    assert net[0].bias is net[1].bias is shared
    assert net[2].bias is frozen and not frozen.requires_grad


def test_one_name_to_skip_may_stand_alone():
    net = nn.ModuleDict({"head": nn.Linear(4, 3), "d": nn.Linear(4, 3)})
    assert list(udv_modules(convert(net, hidden=2, skip="head"))) == ["d"]


def test_convert_refuses():
    tied = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    tied["head"].weight = tied["embedding"].weight
    for net, arguments, said in (
        (nn.Sequential(nn.ReLU()), {}, "nothing to convert"),
        (nn.Linear(4, 3).requires_grad_(False), {}, "nothing to convert"),
        ("net", {}, "model is a Module; got str"),
        (small_net(), {"skip": ["1"]}, "1 is none"),
        (small_net(), {"skip": [0]}, "0 is none"),
        (small_net(), {"start": "random"}, "'paper', 'svd'"),
        (small_net(), {"hidden": 0}, "hidden"),
        (small_net(), {"hidden": 7, "start": "svd"}, "at most 6"),
        (tied, {}, "shared"),
    ):
        with pytest.raises(InputError, match=said):
            convert(net, **({"hidden": 2} | arguments))


# --- the experiment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_retraction_is_feasible_without_projection_and_another_method(variant):
    x, y = task()
    layers = [UDVLinear(12, 3, hidden=10, radius=0.3, generator=generator(), **VARIANTS[variant]) for _ in range(2)]
    retraction_experiment(layers[1])
    for layer in layers:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        if layer is layers[0]:
            attach(optimizer, layer)
        else:
            with pytest.raises(InputError, match="is no parameter"):
                attach(optimizer, layer)
        for _ in range(10):
            optimizer.step(closure(layer, optimizer, x, y))
            assert feasible(layer)
    assert not torch.allclose(layers[0].weight, layers[1].weight, rtol=1e-2)
    twin = copy.deepcopy(layers[1])
    twin.load_state_dict(layers[1].state_dict())
    torch.testing.assert_close(twin.weight, layers[1].weight)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"in_features": 0}, "in_features"),
        ({"out_features": 2.5}, "out_features"),
        ({"hidden": 0}, "hidden"),
        ({"radius": 0.0}, "radius"),
        ({"radius": -1.0}, "radius"),
        ({"radius": float("nan")}, "radius"),
        ({"radius": [1.0, 2.0]}, "radius"),
        ({"ball": "spectral"}, "frobenius"),
        ({"activation": "tanh"}, "relu"),
        ({"dtype": torch.complex64}, "real floating-point"),
        ({"dtype": torch.int64}, "real floating-point"),
    ],
)
def test_layer_refuses(arguments, said):
    with pytest.raises(InputError, match=said):
        UDVLinear(**({"in_features": 4, "out_features": 2, "hidden": 3} | arguments))


@pytest.mark.parametrize("x", [torch.ones(2, 5), torch.ones(()), torch.ones(2, 4).long(), torch.ones(2, 4) * 1j])
def test_forward_refuses(x):
    with pytest.raises(InputError, match="last dimension 4"):
        UDVLinear(4, 2, hidden=3)(x)


@pytest.mark.parametrize("x", [np.ones((2, 4), np.float32), [1.0, 2.0, 3.0, 4.0], None])
def test_forward_refuses_what_is_no_tensor(x):
    with pytest.raises(InputError, match=f"Tensor; got {type(x).__name__}"):
        UDVLinear(4, 2, hidden=3)(x)


def test_weight_of_a_relu_layer_is_refused():
    with pytest.raises(InputError, match="no single matrix"):
        _ = UDVLinear(4, 2, hidden=3, activation="relu").weight


def test_attach_refuses():
    layer = UDVLinear(4, 2, hidden=3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(InputError, match="no UDV layer"):
        attach(optimizer, nn.Linear(4, 2))
    with pytest.raises(InputError, match=r"torch\.optim\.Optimizer"):
        attach(layer, optimizer)
    with pytest.raises(InputError, match="model is a Module; got list"):
        attach(optimizer, [layer])
    with pytest.raises(InputError, match=r"does not own 1\.D"):
        attach(torch.optim.SGD([layer.U, layer.V], lr=0.1), nn.Sequential(nn.ReLU(), layer))
    layer.V.requires_grad_(False)
    with pytest.raises(InputError, match="V is frozen"):
        attach(optimizer, layer)
    adapter = Adapter()
    adapter.U.data = adapter.U.data.cfloat()
    with pytest.raises(InputError, match="U is real"):
        attach(torch.optim.SGD(adapter.parameters(), lr=0.1), adapter)
    for radius, ball in ((2.0, "frobenius"), (1.0, "columns")):
        first, second = UDVLinear(4, 2, hidden=3), UDVLinear(4, 2, hidden=3, radius=radius, ball=ball)
        second.U = first.U
        with pytest.raises(InputError, match=r"1\.U is shared"):
            stepped(nn.Sequential(first, second))
    parametrized = UDVLinear(4, 2, hidden=3)
    nn.utils.parametrizations.orthogonal(parametrized, "V")
    with pytest.raises(InputError, match="V is no parameter"):
        attach(torch.optim.SGD(parametrized.parameters(), lr=0.1), parametrized)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: diagnose(nn.Linear(3, 2)), "nothing to diagnose"),
        (lambda: diagnose(UDVLinear(3, 2, hidden=2), tol=1.0), "tol"),
        (lambda: radius_of(torch.zeros(3, 2)), "not zero"),
        (lambda: radius_of(torch.ones(3)), "dimension"),
        (lambda: suggest_radius(torch.ones(4, 2), torch.ones(3)), "targets"),
        (lambda: suggest_radius(torch.ones(4, 2), torch.tensor([0, 1, -1, 0])), "smallest class"),
        (lambda: suggest_radius(torch.ones(4, 2), torch.ones(4), iterations=0), "iterations"),
        (lambda: suggest_radius(torch.full((4, 2), torch.nan), torch.ones(4)), "NaN"),
        (lambda: suggest_radius(torch.ones(4, 2) * 1j, torch.ones(4)), "inputs is an array of real numbers"),
        (lambda: suggest_radius(torch.ones(4, 2), np.ones(4) * 1j), "targets is an array of real numbers"),
        (lambda: suggest_radius(torch.ones(4, 2), ["cat", "dog"] * 2), "targets is an array of real numbers"),
        (lambda: suggest_radius(torch.ones(4, 2), None), "targets is an array of real numbers"),
        (lambda: suggest_radius(torch.ones(4, 2), [[1], [1, 2], [3], [4]]), "targets is an array of real numbers"),
        (lambda: suggest_radius(torch.ones(0, 2), torch.ones(0)), "empty"),
        (lambda: suggest_radius(torch.ones(4, 0), torch.ones(4)), "empty"),
        (lambda: suggest_radius(torch.ones(4, 2), torch.ones(4, 0)), "empty"),
        (lambda: radius_of([[1.0], [1.0, 2.0]]), "reference is an array of real numbers; got list"),
        (lambda: radius_of(torch.eye(3) * 1j), "reference is an array of real numbers"),
        (lambda: retraction_experiment(nn.Linear(3, 2)), "UDV layer"),
        (lambda: udv_modules(3), "model is a Module; got int"),
        (lambda: feasible([UDVLinear(3, 2, hidden=2)]), "model is a Module; got list"),
    ],
)
def test_the_rest_refuses(call, said):
    with pytest.raises(InputError, match=said):
        call()
