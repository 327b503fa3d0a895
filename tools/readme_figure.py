"""Draw the README's figure from a run: the spectra that BM and UDU end with."""

import matplotlib.pyplot as plt
import numpy as np

import udulib as ul
from companion import figures
from tools.tree import Tree, write_whole


def spectra(iterations=40_000):
    """Singular values of BM and UDU on one instance of Figure 1, by model."""
    problem, _ = ul.planted_completion(d=100, rank=3, observed=900, spectrum=(3.0, 2.0, 1.0), seed=0)
    models = {"BM": ul.BM(rank=100), "UDU": ul.UDU(rank=100, radius=1.0)}
    runs = {name: ul.descend(problem, model, step_size=0.1, iterations=iterations) for name, model in models.items()}
    return {name: trace.singular_values for name, trace in runs.items()}


def draw(values, shown=20, floor=1e-18):
    """Dots above ``floor``, arrows at it for what lies below."""
    figures.use_style()
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    for (name, s), marker in zip(values.items(), "os", strict=True):
        index = np.arange(1, shown + 1)
        above = s[:shown] > floor
        (line,) = ax.semilogy(index[above], s[:shown][above], marker, label=name)
        ax.semilogy(index[~above], np.full(np.sum(~above), floor), "v", color=line.get_color())
    ax.set(xlabel="index", ylabel="singular value", ylim=(floor / 5, 20), xticks=range(2, shown + 1, 2))
    ax.annotate("below 10$^{-18}$", (shown, floor), xytext=(0, 8), textcoords="offset points", ha="right")
    ax.legend()
    return fig


if __name__ == "__main__":
    place = Tree().root / "book" / "_static" / "spectra.png"
    write_whole(place, figures.png(draw(spectra())))
    print(f"  {place}")
