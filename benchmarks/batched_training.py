"""Many small networks as one tensor program against a loop over modules: time for each seed, and the same losses.

The networks are those of HPART (79-26-1, batches of 128 of 934 rows) on made-up rows. The loop is what a reader would
write: a module, an optimiser of `torch.optim`, `udulib.nn.attach` for the balls.
"""

import numpy as np
import torch
from _timing import shortest, write

from companion.networks.tasks import planted
from companion.networks.training import train
from udulib.nn import UDVLinear, attach
from udulib.seeds import generator

EPOCHS, HIDDEN, BATCH, RATE = 10, 26, 128, 1e-3
SEEDS = 80
REPEATS = 3


def one_by_one(task, net, seeds):
    """Validation losses (seeds,) at the end, from a loop over modules."""
    losses = []
    for k in range(seeds):
        rng = generator("network", int(task.seeds[k]))
        if net == "UV":
            model = torch.nn.Sequential(
                torch.nn.Linear(task.inputs, HIDDEN, bias=False), torch.nn.Linear(HIDDEN, 1, bias=False)
            )
            factors = [model[0].weight.T, model[1].weight]
        else:
            model = UDVLinear(task.inputs, 1, HIDDEN)
            factors = [model.U, model.V, model.D]
        for factor, fan in zip(factors, (task.inputs, HIDDEN, HIDDEN), strict=False):
            start = torch.from_numpy(rng.uniform(-1, 1, tuple(factor.shape)) / fan**0.5)
            factor.data.copy_(start)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        if net != "UV":
            attach(optimizer, model)
        x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)[:, None]
        order = generator("batches", int(task.seeds[k]))
        for _ in range(EPOCHS):
            for rows in torch.from_numpy(order.permutation(task.train[k])).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
                optimizer.step()
        rows = torch.from_numpy(task.validation[k])
        losses.append(float(torch.nn.functional.mse_loss(model(x[rows]), y[rows]).detach()))
    return np.array(losses)


def compare(task, net, few):
    """Times of both for each seed, and the largest relative gap of the losses; the loop runs ``few`` of the seeds."""
    settings = dict(hidden=HIDDEN, learning_rate=RATE, epochs=EPOCHS, batch=BATCH)
    gap = np.abs(train(task, net, **settings).curve[:few, -1] / one_by_one(task, net, few) - 1).max()
    contenders = {"loop": lambda: one_by_one(task, net, few), "batched": lambda: train(task, net, **settings)}
    times = shortest(contenders, REPEATS)
    each = {"loop": times["loop"] / few, "batched": times["batched"] / len(task.seeds)}
    return {**each, "ratio": each["loop"] / each["batched"], "gap": float(gap)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dying neurons are slow without it, in both
    rows = planted(seeds=range(SEEDS), rows=1460, inputs=79)
    results = {net: compare(rows, net, few=4) for net in ("UV", "UDV")}
    for net, found in results.items():
        alone, each = (1e3 * found[name] for name in ("loop", "batched"))
        print(
            f"{net}: a loop takes {alone:.0f} ms a seed, {SEEDS} as one {each:.2f} ms: {found['ratio']:.1f} times "
            f"faster; largest relative gap of the losses {found['gap']:.0e}"
        )
    write(batched_over_loop=min(found["ratio"] for found in results.values()), batched_training=results)
