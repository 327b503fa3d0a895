"""Training many networks as one: the same as one by one with torch, feasible, paired, and honest about divergence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from companion.networks.nets import NETS, Net
from companion.networks.network_stack import project, shrink
from companion.networks.tasks import planted
from companion.networks.trained import best, best_each
from companion.networks.training import OPTIMIZERS, evaluate, train
from udulib.errors import InputError
from udulib.nn import VARIANTS, UDVLinear, attach
from udulib.seeds import generator

REGRESSION, CLASSES = planted(seeds=[3, 8]), planted(seeds=[3, 8], classes=4)
HIDDEN, EPOCHS, BATCH = 7, 6, 50  # 128 training rows: the last batch of an epoch is smaller

TORCH = {
    "sgd": lambda p, lr, wd: torch.optim.SGD(p, lr=lr, weight_decay=wd),
    "momentum": lambda p, lr, wd: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=wd),
    "adam": lambda p, lr, wd: torch.optim.Adam(p, lr=lr, weight_decay=wd),
    "nadam": lambda p, lr, wd: torch.optim.NAdam(p, lr=lr, weight_decay=wd),
    "adamw": lambda p, lr, wd: torch.optim.AdamW(p, lr=lr, weight_decay=wd),
}


class Alone(torch.nn.Module):
    """One network of one seed, written layer after layer."""

    def __init__(self, task, net, seed, dtype):
        super().__init__()
        self.net, d, c = NETS[net], task.inputs, task.outputs
        rng = generator("network", seed)

        def uniform(*shape, fan):
            return torch.nn.Parameter(torch.tensor(rng.uniform(-1, 1, shape) / fan**0.5, dtype=dtype))

        self.U, self.V, self.D = uniform(d, HIDDEN, fan=d), uniform(c, HIDDEN, fan=HIDDEN), uniform(HIDDEN, fan=HIDDEN)
        self.M = uniform(HIDDEN, HIDDEN, fan=HIDDEN)
        if self.net.middle != "diagonal":
            del self.D
        if self.net.middle != "dense":
            del self.M

    def forward(self, x):
        z = x @ self.U
        if self.net.middle == "diagonal":
            z = z * self.D
        elif self.net.middle == "dense":
            z = z @ self.M
        return (z.relu() if self.net.relu else z) @ self.V.T

    @torch.no_grad()
    def project(self, radius):
        for factor in (self.U, self.V):
            if self.net.ball == "frobenius":
                factor *= radius / max(float(factor.norm()), radius)
            elif self.net.ball == "columns":
                factor *= radius / factor.norm(dim=0).clamp(min=radius)
        if self.net.nonnegative:
            self.D.clamp_(min=0)


def alone(task, net, k, optimizer, learning_rate, weight_decay, radius, dtype=torch.float64):
    """Validation loss after each epoch of seed number k."""
    model = Alone(task, net, int(task.seeds[k]), dtype)
    opt = TORCH[optimizer](list(model.parameters()), learning_rate, weight_decay)
    loss = torch.nn.functional.cross_entropy if task.classes else torch.nn.functional.mse_loss
    order, curve = generator("batches", int(task.seeds[k])), []

    def rows(index):
        x, y = torch.tensor(task.x[index], dtype=dtype), torch.tensor(task.y[index])
        return x, y if task.classes else y.to(dtype)[:, None]

    for _ in range(EPOCHS):
        shuffled = order.permutation(task.train[k])
        for at in range(0, len(shuffled), BATCH):
            x, y = rows(shuffled[at : at + BATCH])
            opt.zero_grad()
            loss(model(x), y).backward()
            opt.step()
            model.project(radius)
        x, y = rows(task.validation[k])
        curve.append(float(loss(model(x), y).detach()))
    return np.array(curve)


def together(task, net, optimizer, **settings):
    return train(task, net, hidden=HIDDEN, epochs=EPOCHS, batch=BATCH, optimizer=optimizer, **settings)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("net", NETS)
def test_a_stack_is_its_runs_one_by_one(net, optimizer):
    """Every net and optimiser, two settings by two seeds, regression and classes: to 1e-10 in float64."""
    rates, decays, radii = (0.02, 0.05), (0.0, 0.3), (1.0, 1.5)
    for task in (REGRESSION, CLASSES):
        runs = together(task, net, optimizer, learning_rate=rates, weight_decay=decays, radius=radii, dtype="float64")
        for setting in range(2):
            for k in range(2):
                single = alone(task, net, k, optimizer, rates[setting], decays[setting], radii[setting])
                # the results are float32
                np.testing.assert_allclose(runs.curve[setting, k], single, rtol=1e-6)


@pytest.mark.parametrize("net", ["UDV", "UDV-s", "UDV-v1", "UDV-v2", "UDV-ReLU"])
def test_a_stack_is_the_layer_with_its_projection_attached(net):
    """`udulib.nn` gives the same network: 1e-5 relative, both in single precision."""
    runs = together(CLASSES, net, "nadam", learning_rate=1e-2, radius=1.5)
    name = net.removesuffix("-ReLU")
    layer = UDVLinear(10, 4, HIDDEN, radius=1.5, activation="relu" if net != name else None, **VARIANTS[name])
    start = Alone(CLASSES, net, 3, torch.float32)
    layer.load_state_dict({factor: getattr(start, factor) for factor in "UDV"})
    opt = TORCH["nadam"](list(layer.parameters()), 1e-2, 0.0)
    attach(opt, layer)
    order = generator("batches", 3)
    for _ in range(EPOCHS):
        for rows in np.split(order.permutation(CLASSES.train[0]), range(BATCH, 128, BATCH)):
            opt.zero_grad()
            torch.nn.functional.cross_entropy(
                layer(torch.tensor(CLASSES.x[rows])), torch.tensor(CLASSES.y[rows])
            ).backward()
            opt.step()
    x, y = (torch.tensor(part[0]) for part in CLASSES.part("validation"))
    loss = torch.nn.functional.cross_entropy(layer(x), y)
    assert runs.curve[0, -1] == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize("net", ["UV", "UDV", "UV-ReLU", "UDV-ReLU"])
def test_in_single_precision_a_stack_is_its_runs_to_1e_5(net):
    for optimizer in ("adam", "momentum"):
        runs = together(REGRESSION, net, optimizer, learning_rate=1e-2)
        for k in range(2):
            single = alone(REGRESSION, net, k, optimizer, 1e-2, 0.0, 1.0, torch.float32)
            np.testing.assert_allclose(runs.curve[k], single, rtol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_factors_end_in_their_balls(optimizer):
    radius = np.array([0.5, 2.0])
    for net in ("UDV", "UDV-ReLU", "UDV-s"):
        runs = together(CLASSES, net, optimizer, learning_rate=0.3, radius=radius)
        for factor in (runs.U, runs.V):
            assert (np.linalg.norm(factor, axis=(-2, -1)) <= radius[:, None] * (1 + 1e-6)).all()
        assert (runs.D >= 0).all() or net == "UDV-s"
    for net in ("UDV-v1", "UDV-v2"):
        runs = together(CLASSES, net, optimizer, learning_rate=0.3, radius=radius)
        for factor in (runs.U, runs.V):
            assert (np.linalg.norm(factor, axis=-2) <= radius[:, None, None] * (1 + 1e-6)).all()
        assert (runs.D >= 0).all() or net == "UDV-v2"
    assert (together(CLASSES, "UDV-s", "sgd", learning_rate=0.1).D < 0).any()


def test_settings_make_a_grid_and_seeds_come_last():
    rates, decays = np.array([1e-3, 1e-2])[:, None], np.array([0.0, 0.1, 1.0])
    runs = together(REGRESSION, "UDV", "adamw", learning_rate=rates, weight_decay=decays)
    assert runs.U.shape == (2, 3, 2, 10, HIDDEN) and runs.D.shape == (2, 3, 2, HIDDEN)
    assert runs.curve.shape == (2, 3, 2, EPOCHS) and runs.validation.shape == runs.test.shape == (2, 3, 2)
    one = together(REGRESSION, "UDV", "adamw", learning_rate=1e-2, weight_decay=1.0)
    np.testing.assert_allclose(one.U, runs[1, 2].U, rtol=1e-4, atol=1e-6)  # products of other widths round otherwise
    assert one.U.shape == (2, 10, HIDDEN) and one.spectrum().shape == (2, HIDDEN)


def test_many_seeds_go_in_parts_without_a_trace(monkeypatch):
    whole = together(REGRESSION, "UDV", "adam", learning_rate=[1e-2, 2e-2])
    monkeypatch.setattr("companion.networks.training.FLOATS_AT_ONCE", 1)
    np.testing.assert_array_equal(together(REGRESSION, "UDV", "adam", learning_rate=[1e-2, 2e-2]).U, whole.U)


def test_networks_start_alike_and_see_the_same_batches():
    """With a rate of next to nothing, factors are the initial ones: those of UV are those of UDV without balls."""
    uv, three = (together(REGRESSION, net, "sgd", learning_rate=1e-30) for net in ("UV", "three factors"))
    np.testing.assert_array_equal(uv.U, three.U)
    np.testing.assert_array_equal(uv.V, three.V)
    assert abs(three.D).max() <= HIDDEN**-0.5 and abs(uv.U).max() <= 10**-0.5


def test_spectrum_and_contributions_are_those_of_the_factors():
    runs = together(CLASSES, "UDV-s", "adam", learning_rate=1e-2)
    expected = np.linalg.svd(runs.U * runs.D[:, None, :], compute_uv=False)
    np.testing.assert_allclose(runs.spectrum(), expected, rtol=1e-4, atol=1e-7)
    neuron = np.linalg.norm(runs.D[:, None, None, 2] * runs.V[:, :, None, 2] * runs.U[:, None, :, 2], axis=(-2, -1))
    np.testing.assert_allclose(runs.contributions()[:, 2], neuron, rtol=1e-5)


@pytest.mark.parametrize("net", ["UV", "UDV-ReLU"])
def test_evaluation_of_the_trained_factors_is_the_recorded_test(net):
    runs = together(CLASSES, net, "adam", learning_rate=1e-2)
    loss, accuracy = evaluate(net, runs.U, runs.D, runs.V, *CLASSES.part("test"), classes=4)
    np.testing.assert_allclose(loss, runs.test, rtol=1e-5)
    np.testing.assert_allclose(accuracy, runs.test_accuracy)


def test_evaluation_takes_any_strides_and_broadcasts():
    runs = together(CLASSES, "UDV", "adam", learning_rate=[1e-2, 2e-2])
    x, y = CLASSES.part("test")
    loss, _ = evaluate("UDV", runs.U, runs.D, runs.V, x, y, classes=4)
    backwards = (array[..., ::-1] for array in (runs.U, runs.D, runs.V))
    np.testing.assert_allclose(evaluate("UDV", *backwards, x, y, classes=4)[0], loss, rtol=1e-5)
    one = (runs.U[0, 0], runs.D[0, 0], runs.V[0, 0], x[0])
    labels = np.stack([y[0], y[0]])
    np.testing.assert_allclose(evaluate("UDV", *one, labels, classes=4)[0], loss[[0, 0], [0, 0]], rtol=1e-5)


def test_evaluation_wants_what_its_docstring_says():
    U, D, V, x, y = np.ones((3, 2)), np.ones(2), np.ones((4, 2)), np.ones((5, 3)), np.arange(5) % 4
    evaluate("UDV", U, D, V, x, y, classes=4)
    for changed, said in (
        ({"net": "three layers"}, "net is one of"),
        ({"net": "VU"}, "net is one of"),
        ({"D": None}, "UDV has a diagonal"),
        ({"y": y[:1]}, "were wanted"),
        ({"y": y[0]}, "were wanted"),
        ({"x": x[:, :2]}, "were wanted"),
        ({"D": D[:1]}, "were wanted"),
        ({"V": V[:, :1]}, "were wanted"),
        ({"V": V[:3]}, "were wanted"),
        ({"classes": 0}, "were wanted"),
        ({"classes": -1}, "classes"),
        ({"y": y + 1}, "from 0 to 3"),
        ({"y": y + 0.5}, "from 0 to 3"),
        ({"U": U * 1j}, "U is an array of real numbers"),
        ({"U": np.ones((2, 3, 2)), "x": np.ones((3, 5, 3))}, "broadcast"),
    ):
        arguments = {"net": "UDV", "U": U, "D": D, "V": V, "x": x, "y": y, "classes": 4} | changed
        with pytest.raises(InputError, match=said):
            evaluate(**arguments)


@pytest.mark.parametrize("ball", ["frobenius", "columns"])
def test_a_norm_that_overflows_is_not_taken_for_zero(ball):
    """As in `udulib.nn`; the other runs stay as they are."""
    factors = {name: torch.ones(2, 1, 3, 2) for name in "UV"}
    factors["U"][0] = 1e20  # squares beyond float32
    project(Net(ball=ball), factors, torch.tensor([[9.0]]))
    assert factors["U"][0].isnan().all()
    assert (factors["U"][1] == 1).all() and (factors["V"] == 1).all()


def test_a_run_that_diverges_says_so_and_leaves_the_others_alone():
    runs = together(REGRESSION, "UV", "sgd", learning_rate=[0.01, 30.0])
    assert np.isinf(runs.validation[1]).all() and np.isfinite(runs.validation[0]).all()
    assert best(runs) == (0,) and (runs.spectrum()[1] == 0).all()
    classes = together(CLASSES, "UV", "sgd", learning_rate=[0.01, 1e30])
    assert (classes.test_accuracy[1] == 0).all() and best(classes) == (0,)


def test_best_looks_at_validation_only():
    task = planted(seeds=[1, 2], parts=(0.5, 0.5, 0.0))  # the paper's split: no test part at all
    runs = together(task, "UV", "adam", learning_rate=[1e-5, 1e-2])
    assert best(runs) == (1,) and np.isnan(runs.test).all()


def test_best_is_a_number():
    """A setting whose score is NaN is never the best; where all are, there is none."""
    runs = together(REGRESSION, "UV", "adam", learning_rate=[1e-2, 1e-3, 1e-4])
    for lost, place in (([0], 1), ([0, 1], 2), ([2], 0)):
        curve = runs.curve.copy()
        curve[lost] = np.nan
        assert best(replace(runs, curve=curve)) == (place,)
        curve[place] = np.inf
        assert best(replace(runs, curve=curve))[0] not in lost
    with pytest.raises(InputError, match="validation part"):
        best(replace(runs, curve=np.full_like(runs.curve, np.nan)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"net": "VU"}, "net is one of"),
        ({"optimizer": "lion"}, "optimizer is one of"),
        ({"hidden": 0}, "hidden"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"radius": 0.0}, "radius"),
        ({"epochs": 0}, "epochs"),
        ({"dtype": "float16"}, "dtype"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, said):
    settings = {"net": "UDV", "hidden": 3} | settings
    with pytest.raises(InputError, match=said):
        train(REGRESSION, settings.pop("net"), **settings)
    with pytest.raises(InputError, match="grid"):
        together(REGRESSION, "UV", "sgd")[0]


# Penalties and choices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "net"), [("neurons", Net(middle=None, penalty="neurons")), ("D", Net(penalty="diagonal"))]
)
def test_the_proximal_step_is_the_minimiser_of_its_definition(name, net):
    """Of half the squared distance plus threshold times penalty: no nearby point does better, and zero is exact."""
    rng = torch.Generator().manual_seed(3)
    start = {
        n: torch.randn(2, 1, *s, generator=rng, dtype=torch.float64)
        for n, s in (("U", (3, 6)), ("V", (2, 6)), ("D", (6,)))
    }
    found = {n: value.clone() for n, value in start.items()}
    threshold = 0.9
    shrink(net, found, torch.tensor([[threshold]], dtype=torch.float64))
    moved = ("U", "V") if name == "neurons" else ("D",)

    def cost(at):
        size = torch.hypot(at["U"].norm(dim=-2), at["V"].norm(dim=-2)) if name == "neurons" else at["D"].abs()
        return sum((at[n] - start[n]).square().sum() for n in moved) / 2 + threshold * size.sum()

    least = cost(found)
    for _ in range(200):
        near = {
            n: v + 1e-3 * torch.randn(v.shape, generator=rng, dtype=v.dtype) * (n in moved) for n, v in found.items()
        }
        assert cost(near) >= least
    if name == "D":
        assert ((found["D"] == 0) == (start["D"].abs() <= threshold)).all() and (found["D"] == 0).any()
    shrink(net, found, torch.tensor([[1e3]], dtype=torch.float64))
    assert all((found[n] == 0).all() for n in moved)


def test_a_penalty_empties_neurons_while_training():
    free, held = (
        together(CLASSES, "UV-ReLU, group lasso", "momentum", learning_rate=0.05, penalty=p) for p in (0.0, 3.0)
    )
    assert (free.contributions() > 0).all() and (held.contributions() == 0).any()


def test_each_seed_takes_its_own_best_setting():
    runs = together(REGRESSION, "UV", "adam", learning_rate=(1e-4, 1e-2, 3e-2))
    each = best_each(runs)
    np.testing.assert_array_equal(each.validation, runs.validation.min(0))
    for k, setting in enumerate(runs.validation.argmin(0)):
        np.testing.assert_array_equal(each.U[k], runs.U[setting, k])
