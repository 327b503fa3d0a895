# %% [markdown]
# # Implicit bias: Burer–Monteiro and UDU
#
# Hou, Sra and Yurtsever (arXiv 2501.16322) recover a low-rank matrix from few of its entries with gradient descent on
# factors. They compare two ways of writing a symmetric positive semidefinite $X$:
#
# - **Burer–Monteiro (BM):** $X = UU^\top$, the classical one;
# - **UDU:** $X = UDU^\top$ with $D \ge 0$ diagonal and $U$ kept in a ball, $\|U\|_F \le \alpha$.
#
# Nothing in either asks for a low rank: $U$ is square, so every $X \succeq 0$ can be written both ways. Yet gradient
# descent prefers low rank. The paper's claim, its Figure 1, is that BM ends *approximately* low-rank, with a spectrum
# that decays, while UDU ends *truly* low-rank, whatever the step size and the initial scale.
#
# This notebook repeats Figure 1 over several random problems, follows the columns of $U$ on their way, adds noise, and
# looks for the places where the claim ends. Each statement gets a verdict, which the code computes from the runs.
#
# **What you need:** linear algebra and gradient descent. **What you can do at the end:** say when UDU finds the rank,
# why, and name a setting in which it does not. **How long it takes** on two processor cores: about 20 seconds at size
# ci, a minute and a half at size book, half an hour at size paper.

# %% tags=["setup", "hide-cell"]
# Where udulib is missing (Colab), it comes from the book's repository. The torch and numpy already there stay as they are.
import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version

if importlib.util.find_spec("udulib") is None:
    source = os.environ.get("UDULIB_SOURCE", "")
    if not source:
        raise ModuleNotFoundError(
            "udulib is not installed, and this notebook does not know where to find it. Set UDULIB_SOURCE to what pip "
            "shall install, for example os.environ['UDULIB_SOURCE'] = 'git+https://<host>/<owner>/<repository>', "
            "and run this cell again."
        )
    kept = [f"{name}=={version(name)}" for name in ("torch", "numpy")]
    wanted = f"udulib[companion] @ {source}" if "://" in source else f"{source}[companion]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", wanted, *kept], check=True)
    importlib.invalidate_caches()

# %% tags=["parameters"]
size = "ci"  # ci: seconds · book: minutes · paper: as published
device = "auto"  # auto, cpu, cuda
first_seed = 0  # problems, starts, splits and noise take the seeds from here on

# %%
import matplotlib.pyplot as plt
import numpy as np

import udulib as ul
from companion import Ledger, figures

settings = {
    "ci": {  # a smaller matrix with the same number of entries per unknown; its data are denser, so its steps are smaller
        "d": 40,  # side of X, and columns of U
        "observed": 360,  # entries: 3 * rank * d, as in the paper
        "steps": (0.05, 0.02),  # step sizes of the first experiment, the first is the base step of all others
        "iterations": 20_000,  # of the first experiment
        "scale_step": 0.05,  # step size of the second experiment
        "scale_iterations": 20_000,  # of the second experiment
        "noise_iterations": 10_000,  # long enough to see a plateau end
        "text_iterations": 40_000,  # of the scaled run on the text's instance
        "limit_iterations": 10_000,  # of the experiments on where the claim ends
    },
    "book": {  # the paper's matrix; runs are cut where longer ones show nothing new, see "step size times iterations"
        "d": 100,
        "observed": 900,
        "steps": (0.1, 0.01),  # the paper's 0.001 needs 10^6 iterations to get anywhere: size paper
        "iterations": 60_000,
        "scale_step": 0.1,  # in place of the paper's 0.01, for a tenth of its iterations
        "scale_iterations": 30_000,
        "noise_iterations": 20_000,
        "text_iterations": 60_000,
        "limit_iterations": 10_000,
    },
    "paper": {  # Figure 1 as published, for five problems instead of one
        "d": 100,
        "observed": 900,
        "steps": (0.1, 0.01, 0.001),
        "iterations": 1_000_000,
        "scale_step": 0.01,
        "scale_iterations": 1_000_000,
        "noise_iterations": 1_000_000,
        "text_iterations": 300_000,
        "limit_iterations": 100_000,
    },
}[size]

seeds = first_seed + np.arange(5)  # five problems, each with its own start; the paper shows one
scales = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])  # initial scales of Figure 1, right
base_scale = 1e-2  # initial scale of Figure 1, left
spectrum = (3.0, 2.0, 1.0)  # of the truth in the authors' code
rank = len(spectrum)
d, steps = settings["d"], np.array(settings["steps"])
base = steps[0]
figure_one = size != "ci"  # numbers read off Figure 1 are only compared at its own matrix size

figures.use_style()
ledger = Ledger(size=size, notebook="01_implicit_bias")
settings

# %% [markdown]
# ## The problem
#
# The truth $X_\natural$ is symmetric, positive semidefinite and of rank three. We see $n$ of its $d^2$ entries, chosen at
# random (position $(i,j)$ and position $(j,i)$ count as two), and minimise
#
# $$f(X) = \tfrac12 \sum_{(i,j)\ \text{seen}} \big(X_{ij} - (X_\natural)_{ij}\big)^2 .$$
#
# With $G = \nabla f(X)$, symmetrised, one step of size $\eta$ is
#
# $$\begin{aligned}
# \text{BM:}\quad & U \leftarrow U - 2\eta\, G U, \\
# \text{UDU:}\quad & U \leftarrow \Pi_\alpha\big(U - 2\eta\, G U D\big), \\
# & D \leftarrow \max\big(D - \eta\,\mathrm{diag}(U^\top G U),\, 0\big).
# \end{aligned}$$
#
# $\Pi_\alpha$ rescales $U$ to Frobenius norm $\alpha$ if it is longer. Both start from the same random $U_0$ with
# $\|U_0\|_F = \xi$; UDU starts with $D_0 = I$ and has $\alpha = 1$.
#
# The paper's text describes a truth with standard normal factors, its code one with singular values $3, 2, 1$. The
# starting residual of Figure 1 fits the code's, so that is what we take first. The text's own instance comes later, and
# it behaves differently.

# %%
problem, truth = ul.planted_completion(d=d, rank=rank, observed=settings["observed"],
                                       spectrum=spectrum, seed=seeds)
bm, udu = ul.BM(rank=d), ul.UDU(rank=d, radius=1.0)


def run(model, problem=problem, **arguments):
    """One batch of descents, with the defaults of this notebook."""
    arguments = {"step_size": base, "init_scale": base_scale, "seed": seeds,
                 "device": device, **arguments}
    return ul.descend(problem, model, **arguments)


def floored(values, floor):
    """Values for a logarithmic axis, cut off below."""
    return np.maximum(values, floor)


def residual(trace):
    """What Figure 1 plots: the squared norm of A(X) - b, twice the objective."""
    return 2 * trace.objective


# %% [markdown]
# ## Does the step size matter?
#
# Figure 1, left: the initial scale is $\xi = 10^{-2}$, the step size varies. The paper says that UDU's spectrum is
# truly low-rank for each of them, and that BM's hardly depends on the step size.
#
# **Before you read on:** which of the curves will fall first, which will end lowest, and which spectrum will
# have a tail?

# %%
# (steps, seeds)
with_steps = {"step_size": steps[:, None], "iterations": settings["iterations"]}
udu_steps = run(udu, **with_steps, record=("columns",))
bm_steps = run(bm, **with_steps)
print(udu_steps, bm_steps, sep="\n")

# %%
COLORS = {"BM": figures.COLOURS[1], "UDU": figures.COLOURS[0]}
FLOOR = 1e-34  # below this the squared singular values of the factors are round-off


def residuals_and_spectra(traces, values, symbol, iterations_to_time):
    """The first problem's residuals over time above, final spectra of all below; one line style a value."""
    fig, (above, below) = plt.subplots(2, 1, figsize=(6.4, 7.4))
    styles = ["-", "--", "-.", ":", (0, (1, 4))]
    for name, trace in traces.items():
        for i, value in enumerate(values):
            style = {"label": f"{name}, {symbol} = {value:g}", "color": COLORS[name], "linestyle": styles[i]}
            above.plot(trace.iteration * iterations_to_time[i], floored(residual(trace)[i, 0], 1e-31), **style)
            shown = slice(0, 20)
            figures.band(below, np.arange(1, d + 1)[shown], floored(trace.singular_values[i][:, shown], FLOOR), **style)
    above.set(xscale="log", yscale="log", xlabel="step size × iterations", ylabel="residual ‖A(X) − b‖²")
    below.set(yscale="log", xlabel="index i", ylabel="singular value σᵢ", ylim=(FLOOR, 10))
    below.xaxis.get_major_locator().set_params(integer=True)
    below.legend(fontsize=8, ncols=2, loc="center right", bbox_to_anchor=(1, 0.42))
    return fig


fig = residuals_and_spectra({"BM": bm_steps, "UDU": udu_steps}, steps, "η", steps)
sigma4 = {"BM": bm_steps.singular_values[..., 3], "UDU": udu_steps.singular_values[..., 3]}  # (steps, seeds)
figures.show(
    fig,
    alt="Two panels. Above, residuals against step size times iterations on logarithmic axes: BM falls early and then "
    "flattens, UDU comes down a staircase of a few steps and goes on falling. Below, the first twenty singular values: UDU's drop to "
    "round-off after the third, BM's decay smoothly.",
    caption=f"Figure 1, left. Above, one problem: each stair of UDU's residual is a column that is found. Below, the spectra "
    f"of {len(seeds)} problems (line: median, band: smallest to largest). The fourth singular value is {np.median(sigma4['BM']):.1e} for BM and {np.median(sigma4['UDU']):.0e} for UDU, in the median.",
    name="fig-step-sizes",
)

# %% [markdown]
# Two things to read off it. First, against step size *times* iterations the curves of one method lie on each other: a
# smaller step only takes longer. The step size is a unit of time here, as long as it is small. Second, the two methods
# differ after the third singular value and not before it.
#
# UDU's residual comes down a staircase: at each step one more column of $U$ has been found, or two at once.


# %%
def farthest(values, target):
    """Of the values along the first axis the one farthest from the target, for each
    seed."""
    return np.take_along_axis(values, np.abs(values - target).argmax(0)[None], 0)[0]


ledger.record("a-udu-rank-eta",
              farthest(ul.numerical_rank(udu_steps.singular_values, rtol=1e-8), rank),
              seeds=seeds)

# %%
ledger.record("a-udu-rank-eta-4th", sigma4["UDU"].max(0), seeds=seeds)

# %%
ledger.record("a-bm-tail",
              ul.numerical_rank(bm_steps.singular_values, rtol=1e-8).min(0),
              seeds=seeds)

# %%
if figure_one:
    display(ledger.record("a-bm-tail-4th", bm_steps.singular_values[0, :, 3],
                          seeds=seeds))
    display(ledger.record("a-bm-tail-10th", bm_steps.singular_values[0, :, 9],
                          seeds=seeds))

# %%
tails = bm_steps.singular_values[..., [3, 9]]  # (steps, seeds, 2)
ledger.record("a-bm-tail-eta", (tails.max(0) / tails.min(0)).max(-1), seeds=seeds)


# %%
def first_below(trace, level):
    """First update before which the residual is at most the level, between records by
    interpolation; inf if never."""
    curves = residual(trace)

    def crossing(curve):
        below = np.flatnonzero(curve <= level)
        if not len(below) or below[0] == 0:
            return 1.0 if len(below) else np.inf
        k = below[0]
        share = np.log(curve[k - 1] / level) / np.log(curve[k - 1] / curve[k])
        return np.exp(np.interp(share, [0, 1], np.log(trace.iteration[[k - 1, k]] + 1)))

    return np.apply_along_axis(crossing, -1, curves)


start = residual(udu_steps)[0, :, 0].mean()
# (steps, seeds)
earlier = first_below(bm_steps, 0.01 * start) / first_below(udu_steps, 0.01 * start)
# the smallest step may not get there at this size
reached = np.isfinite(first_below(udu_steps, 0.01 * start)).all(1)
ledger.record("a-bm-residual", earlier[reached].max(0), seeds=seeds)

# %%
updates = bm_steps.iteration + 1
quarter, half, whole = (
    np.array([np.interp(updates[-1] * part, updates, np.log10(curve))
              for curve in residual(bm_steps)[0]])
    for part in (0.25, 0.5, 1.0)
)
ledger.record("a-bm-residual-sublinear", ((half - whole) / 2) / (quarter - half),
              seeds=seeds)

# %%
if figure_one:
    display(ledger.record("a-udu-residual", first_below(udu_steps, 1e-13)[0],
                          seeds=seeds))
if size == "paper":
    display(ledger.record("a-udu-residual-1e-2", first_below(udu_steps, 1e-13)[1],
                          seeds=seeds))
    display(ledger.record("a-udu-residual-1e-3", 2 * udu_steps.final_objective[2],
                          seeds=seeds))
    display(ledger.record("a-bm-residual-level", 2 * bm_steps.final_objective[0],
                          seeds=seeds))


# %%
def from_minimum(counts):
    """Counts over time from the first time on at which they are smallest."""
    return counts[np.argmin(counts) :]


ranks = ul.numerical_rank(udu_steps.spectra[0], rtol=1e-2)  # (seeds, records)
stairs = {1, 2, 3}
ledger.record("a-udu-staircase",
              [len(stairs - set(from_minimum(r).tolist())) for r in ranks], seeds=seeds)

# %% [markdown]
# **In short.** Where the paper gives words, its Figure 1 is what we see, but for the staircase: on most problems it
# skips a step, as two columns are found together. Where the paper gives a number it gives that of one problem, and
# ours spread around it: see the ranges in the badges above. Such a number counts as reproduced if it lies among the
# central nine tenths of ours.

# %%
with_scales = {"init_scale": scales[:, None], "step_size": settings["scale_step"]}  # (scales, seeds)
udu_scales = run(udu, **with_scales, iterations=settings["scale_iterations"])
bm_scales = run(bm, **with_scales, iterations=settings["scale_iterations"] // 2)  # BM has its tail by then
fig = residuals_and_spectra(
    {"BM": bm_scales, "UDU": udu_scales}, scales, "ξ", np.full(len(scales), settings["scale_step"])
)
figures.show(
    fig,
    alt="Two panels as before, now with five initial scales. BM's spectra lie one below the other, the smaller the "
    "initial scale the lower; UDU's spectra all drop to round-off after the third singular value.",
    caption="Figure 1, right: the initial scale varies. It sets the height of BM's tail, and only shifts UDU in time.",
    name="fig-initial-scales",
)

# %%
ledger.record("a-udu-rank-xi",
              farthest(ul.numerical_rank(udu_scales.singular_values, rtol=1e-8), rank),
              seeds=seeds)

# %%
ledger.record("a-udu-rank-xi-4th", udu_scales.singular_values[..., 3].max(0),
              seeds=seeds)

# %%
fourth = bm_scales.singular_values[..., 3]  # (scales, seeds)
ledger.record("a-bm-tail-xi", (np.diff(fourth, axis=0) > 0).all(0), seeds=seeds)

# %%
if figure_one:
    display(ledger.record("a-bm-tail-xi-large", fourth[-1], seeds=seeds))
    display(ledger.record("a-bm-tail-xi-small", fourth[0], seeds=seeds))

# %% [markdown]
# A low rank is worth little if it is the wrong matrix. The paper plots residuals; we add the distance from the truth.

# %%
errors = truth.relative_error(udu_scales)  # (scales, seeds)
ledger.record("a-recovers-truth", errors[[0, 2, 4]].max(0), seeds=seeds)

# %% [markdown]
# ## What the columns do
#
# Appendix A.3 of the paper follows the norms $\|u_j\|$ of the columns of $U$ and the entries $\lambda_j$ of $D$: a few
# columns grow and push all others to zero, then another is found and grows. In the limit few columns are left, and they
# are orthogonal.
#
# **Before you look:** how small is "zero" here? And which of the two, $\|u_j\|$ or $\lambda_j$, goes there?

# %%
norms, diagonal = udu_steps.column_norms[0], udu_steps.diagonal[0]  # (seeds, records, d), at the base step
fig, (above, below) = plt.subplots(2, 1, figsize=(6.4, 6.6), sharex=True)
winners = np.argsort(-norms[0, -1])[:rank]
for axis, values in ((above, norms[0]), (below, diagonal[0])):
    axis.plot(udu_steps.iteration, values, color="#999999", linewidth=0.6)
    axis.plot(udu_steps.iteration, values[:, winners], linewidth=2.2)
above.set(yscale="log", ylabel="column norm ‖uⱼ‖", ylim=(1e-32, 3))
below.set(xscale="log", xlabel="iteration", ylabel="diagonal λⱼ")
figures.show(
    fig,
    alt="Two panels over iterations. Above, column norms on a logarithmic axis: three coloured lines rise one after the "
    "other to about one half, all grey ones fall by tens of decades. Below, the diagonal entries: three rise to between "
    "three and eight, all others stay near one.",
    caption="One UDU run (seed 0): three columns in colour survive, the others in grey shrink with every step that the "
    "ball presses on $U$. Their $\\lambda_j$ stay where they are.",
    name="fig-columns",
)


# %%
def holding(norms, share):
    """How many of the largest columns hold this share of ||U||^2."""
    squares = np.sort(norms**2, axis=-1)[..., ::-1]
    return 1 + np.sum(np.cumsum(squares, -1) < share * squares.sum(-1, keepdims=True),
                      -1)


counts = holding(norms, 0.99)  # (seeds, records)
falls = [np.sum(np.diff(from_minimum(c)) < 0) if c[-1] == rank else np.inf
         for c in counts]
ledger.record("a-columns-grow", falls, seeds=seeds)

# %%
U, D = udu_steps.factors["U"][0], udu_steps.factors["D"][0]  # (seeds, d, d), (seeds, d)
size_of = np.linalg.norm(U, axis=-2)  # (seeds, d)
order = np.argsort(-size_of, axis=-1)
ledger.record("a-columns-grow-zero",
              np.take_along_axis(size_of, order[:, rank : rank + 1], -1)[:, 0],
              seeds=seeds)

# %%
ledger.record("a-columns-orthogonal",
              (size_of > 1e-8 * size_of.max(-1, keepdims=True)).sum(-1), seeds=seeds)

# %%
alive = np.take_along_axis(U, order[:, None, :rank], -1)  # (seeds, d, 3)
cosines = np.abs(np.swapaxes(alive, -1, -2) @ alive)
cosines /= (
    np.linalg.norm(alive, axis=-2)[:, :, None]
    * np.linalg.norm(alive, axis=-2)[:, None, :]
)
ledger.record("a-columns-orthogonal-cosine", (cosines - np.eye(rank)).max((-2, -1)),
              seeds=seeds)

# %%
weights = -np.sort(-np.take_along_axis(D * size_of**2, order[:, :rank], -1), -1)
shown = udu_steps.singular_values[0, :, :rank]
ledger.record("a-columns-orthogonal-reveals", np.abs(weights / shown - 1).max(-1),
              seeds=seeds)

# %% [markdown]
# So "pushed to zero" is a decay and not a clipping. The next badge counts what is *exactly* zero: columns of $U$ and
# entries of $D$. The dead columns keep their $\lambda_j$, and the rank falls because $u_j$ vanishes, not because
# $\lambda_j$ does. (In single precision, or for large data, a column can underflow to exact zero. From there it never
# comes back.)

# %%
ledger.record("c-columns-underflow", (size_of == 0).sum(-1) + (D == 0).sum(-1),
              seeds=seeds)

# %% [markdown]
# ## The instance of the paper's text
#
# In the text $X_\natural = U_\natural U_\natural^\top$ with standard normal $U_\natural$, so its norm is about $d$ and
# not 3. Everything else is as before: $\alpha = 1$, $D_0 = I$.
#
# **Before you read on:** will UDU do the same as in Figure 1?

# %%
text_problem, text_truth = ul.planted_completion(d=d, rank=rank,
                                                 observed=settings["observed"],
                                                 seed=seeds)
text_steps = base * np.array([1.0, 0.1, 0.01])
as_in_text = {"step_size": text_steps[:, None],
              "iterations": settings["text_iterations"] // 10, "record_at": []}
text_udu = run(udu, text_problem, **as_in_text)
text_bm = run(bm, text_problem, step_size=base, iterations=200)
text_ranks = ul.numerical_rank(text_udu.singular_values, rtol=1e-8)  # (steps, seeds)
good = (text_ranks == rank) & (text_truth.relative_error(text_udu) <= 1e-3)
ledger.record("a-text-instance", good.any(0), seeds=seeds)

# %%
ledger.record("a-text-instance-rank", text_ranks[0], seeds=seeds)

# %%
if figure_one:  # at size ci the step is smaller, and so are the data
    converges = (text_bm.status != "diverged") & (text_bm.final_objective
                                                  < text_bm.objective[:, 0])
    display(ledger.record("a-text-instance-bm", converges, seeds=seeds))

# %% [markdown]
# It does not, and the reason is exact. Multiply the data by $s$, and $\alpha$, $D_0$, $\xi$ by $s^{1/3}$, and $\eta$ by
# $s^{-4/3}$: then every iterate is the old one with $U$ and $D$ multiplied by $s^{1/3}$. (Put it into the update and see
# every term scale alike.) So only $\|X_\natural\| / \alpha^3$ and the ratios $D_0/\alpha$, $\xi/\alpha$ matter, and
# "$\alpha = 1$" is a statement about the scale of the data. The badge compares the two trajectories number by number.

# %%
s = 40.0
factor = s ** (1 / 3)
scaled_data = ul.Completion(problem.rows[0], problem.cols[0], s * problem.b[0], (d, d),
                            symmetric=True)
original = ul.Completion(problem.rows[0], problem.cols[0], problem.b[0], (d, d),
                         symmetric=True)
law = {"iterations": 1000, "seed": 0, "record": ("columns",)}
small = base / 2  # well inside the stable steps, so that round-off stays round-off
one = run(udu, original, **law, step_size=small)
two = run(
    ul.UDU(rank=d, radius=factor),
    scaled_data,
    **law,
    step_size=small * s ** (-4 / 3),
    init_scale=base_scale * factor,
    d_init=factor,
)
gaps = [
    np.max(np.abs(b / factor - a) / np.abs(a).max())
    for a, b in (
        (one.column_norms, two.column_norms),
        (one.diagonal, two.diagonal),
        (one.factors["U"], two.factors["U"]),
    )
]
ledger.record("c-scaling-law", [max(gaps)])

# %% [markdown]
# Now use the law the other way round: scale $\alpha$, $D_0$, $\xi$ and $\eta$ to the text's instance, so that its
# largest singular value plays the part of the 3 in the code's.

# %%
s = text_truth.singular_values[:, 0] / spectrum[0]  # (seeds,)
rescaled = run(
    ul.UDU(rank=d, radius=s ** (1 / 3)),
    text_problem,
    step_size=base * s ** (-4 / 3),
    init_scale=base_scale * s ** (1 / 3),
    d_init=s ** (1 / 3),
    iterations=settings["text_iterations"],
    record_at=[],
)
fig, axis = plt.subplots()
shown = slice(0, 12)
index = np.arange(1, d + 1)[shown]
for trace, label, color in ((text_udu, "as in the text, α = 1", figures.COLOURS[3]), (rescaled, "rescaled by the law", COLORS["UDU"])):
    values = trace.singular_values if trace is rescaled else trace.singular_values[0]
    figures.band(axis, index, floored(values[:, shown] / values[:, :1], FLOOR), label, color)
axis.set(yscale="log", xlabel="index i", ylabel="σᵢ / σ₁", ylim=(FLOOR, 10))
axis.legend()
figures.show(
    fig,
    alt="Relative singular values of two UDU runs on the instance of the paper's text. With radius one fewer than three "
    "values survive; rescaled by the law exactly three do, close to each other, and the rest is round-off.",
    caption="The text's instance. With $\\alpha = 1$ UDU keeps too low a rank and does not fit the data; with everything "
    "rescaled by the law it finds the truth.",
    name="fig-text-instance",
)

# %%
ledger.record("c-scaling-law-text",
              ul.numerical_rank(rescaled.singular_values, rtol=1e-8), seeds=seeds)

# %%
ledger.record("c-scaling-law-text-error", text_truth.relative_error(rescaled),
              seeds=seeds)

# %% [markdown]
# ## Noise
#
# The authors' code adds noise of standard deviation $10^{-2}\|b\|_2$ to each entry. With 900 entries that is a total
# noise norm of about 30 % of $\|b\|$. The paper's appendix A.1 calls the result consistent: UDU truly low-rank, BM
# approximately. We add a tenth of that noise for comparison.
#
# **Before you read on:** the data are no longer of rank three. What will UDU's rank do if it runs on?

# %%
noise_levels = (0.03, 0.3)  # of the root mean square of the entries; the second is the authors' at 900 entries
noisy = {level: ul.planted_completion(d, rank, settings["observed"], spectrum, level, seeds) for level in noise_levels}
noisy_problem = ul.stack([problem for problem, _ in noisy.values()])  # (levels, seeds)
noisy_udu = run(udu, noisy_problem, iterations=settings["noise_iterations"])
noisy_bm = run(bm, noisy_problem, iterations=settings["noise_iterations"])

fig, (above, below) = plt.subplots(2, 1, figsize=(6.4, 6.6), sharex=True)
for name, trace in (("BM", noisy_bm), ("UDU", noisy_udu)):
    for i, (level, style) in enumerate(zip(noise_levels, ("--", "-"), strict=True)):
        about = {"label": f"{name}, noise {level:g}", "color": COLORS[name], "linestyle": style}
        figures.band(above, trace.iteration, ul.numerical_rank(trace.spectra[i], rtol=1e-8), **about)
        figures.band(below, trace.iteration, residual(trace)[i], **about)
above.axhline(rank, color="#666666", linestyle=":")
above.set(yscale="log", ylabel="numerical rank at 1e-8", yticks=(1, 3, 10, 30, 100), yticklabels=(1, 3, 10, 30, 100))
above.minorticks_off()
below.set(xscale="log", yscale="log", xlabel="iteration", ylabel="residual ‖A(X) − b‖²")
below.legend(fontsize=9)
figures.show(
    fig,
    alt="Two panels over iterations. Above, numerical rank: BM's stays high, UDU's falls to one, climbs to three, "
    "stays there for a while and then climbs on. Below, residuals: BM's falls below UDU's.",
    caption="With noise, rank three is a plateau of UDU's run. How long it lasts depends on the noise.",
    name="fig-noise",
)

# %%
# (seeds, records), the authors' noise
noisy_ranks = ul.numerical_rank(noisy_udu.spectra[1], rtol=1e-8)
ledger.record("a-noise-udu", ul.numerical_rank(noisy_udu.singular_values[1], rtol=1e-8),
              seeds=seeds)


# %%
def plateau(ranks):
    """Whether the rank is 3 over at least a doubling of the iterations, and larger at
    the end."""
    on = noisy_udu.iteration[ranks == rank] + 1
    return bool(len(on) and on[-1] >= 2 * on[0] and ranks[-1] > rank)


ledger.record("c-noise-plateau", [plateau(r) for r in noisy_ranks], seeds=seeds)

# %%
ledger.record("a-noise-bm", ul.numerical_rank(noisy_bm.singular_values[1], rtol=1e-8),
              seeds=seeds)

# %%
ledger.record("a-noise-bm-residual",
              noisy_bm.final_objective[1] / noisy_udu.final_objective[1], seeds=seeds)

# %% [markdown]
# Each further step of the staircase fits a little noise. So under noise UDU has the truth's rank *for a while*: a reason
# to stop early, of which notebook 02 makes a rule. The rank goes on to grow, slowly. At size paper, after $10^6$
# iterations, it is 10 of 100 on every problem, and BM's about 60, at nearly the same residual.
#
# ## Where the claim ends
#
# "Regardless of initialization and step size" is how the abstract of version 1 puts it; version 2 says *consistently*.
# Figure 1 varies $\xi$ over four decades and $\eta$ over two, from the top of the stable range downwards, and never varies $D_0$, $\alpha$ or the scale of the
# data. We do.
#
# **Before you read on:** for each row of the table below, predict the rank (3, fewer, more) and whether the
# truth is found.

# %%
small_truth = ul.planted_completion(d, rank, settings["observed"], tuple(np.array(spectrum) / np.linalg.norm(spectrum)), seed=seeds)
limit = {"iterations": settings["limit_iterations"], "record_at": []}
large = base * np.array([5.0, 10.0, 20.0])  # 0.5, 1 and 2 at the paper's size
limits = {
    **{f"step size {eta:g}": (run(udu, **limit, step_size=eta), truth) for eta in large},
    "D0 = 10": (run(udu, **limit, d_init=10.0), truth),
    "radius 2": (run(ul.UDU(rank=d, radius=2.0), **limit), truth),
    "radius 3": (run(ul.UDU(rank=d, radius=3.0), **limit), truth),
    "‖X♮‖ = 1": (run(udu, small_truth[0], **limit), small_truth[1]),
    "BM, ξ = 1e-50": (run(bm, **limit | {"iterations": 20_000}, init_scale=1e-50, step_size=3 * base), truth),
}


def rank_and_error(trace, truth):
    """Rank at 1e-8 and relative error, for each seed."""
    return ul.numerical_rank(trace.singular_values, rtol=1e-8), truth.relative_error(trace)


fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 4.2), sharey=True)
for row, (trace, answer) in enumerate(limits.values()):
    ranks, errors = rank_and_error(trace, answer)
    left.plot(ranks, np.full(len(seeds), row), "o", color=COLORS["UDU"], alpha=0.6)
    right.plot(floored(errors, 1e-16), np.full(len(seeds), row), "o", color=COLORS["UDU"], alpha=0.6)
left.axvline(rank, color="#666666", linestyle=":")
right.axvline(1e-3, color="#666666", linestyle=":")
left.set(yticks=range(len(limits)), yticklabels=limits, xscale="log", xlabel="rank at 1e-8")
right.set(xscale="log", xlabel="relative error")
left.invert_yaxis()
figures.show(
    fig,
    alt="A dot a seed for eight settings, rank on the left and relative error on the right. Large step sizes give rank "
    "three or less with large errors, D0 = 10 and large radii give more than three, a small truth gives more than "
    "three, and BM from a start of 1e-50 gives three, once four, with a small error.",
    caption="Eight settings outside Figure 1, five problems each. Dotted: the right rank, and the error that this book "
    "calls recovery.",
    name="fig-limits",
)


# %%
def holds(trace, truth=truth):
    """Whether the rank is right and the truth found, for each setting and seed."""
    ranks, errors = rank_and_error(trace, truth)
    return (ranks == rank) & (errors <= 1e-3)


# smaller steps are the same path, walked more slowly
in_figure = holds(udu_scales).all(0) & holds(udu_steps)[0]
ledger.record("a-any-init-step-figure", in_figure, seeds=seeds)

# %%
at_large_steps = np.all([holds(limits[f"step size {eta:g}"][0]) for eta in large],
                        axis=0)
ledger.record("a-any-init-step-large-eta", at_large_steps, seeds=seeds)

# %%
ledger.record("a-any-init-step-large-d", holds(limits["D0 = 10"][0]), seeds=seeds)

# %%
everywhere = in_figure & at_large_steps & holds(limits["D0 = 10"][0])
ledger.record("a-any-init-step", everywhere, seeds=seeds)

# %% [markdown]
# The step size is harmless up to a point and then is not. At five times the base step the rank is mostly still right,
# but the iterates swing around the truth. Beyond, the rank collapses and the answer is wrong. Nothing overflows,
# because the ball keeps $U$ bounded: UDU fails quietly. BM's usable step is larger, and where it fails it diverges,
# which is at least said.
#
# With $D_0 = 10$ the data are fitted before the ball is ever reached. Then nothing competes, and UDU interpolates with a
# high rank as BM does from a large start. The same happens if the ball is too large, or the data too small, which is
# the same thing by the scaling law:

# %%
radii = [rank_and_error(*limits[f"radius {radius}"])[0] for radius in (2, 3)]
ledger.record("c-radius-tail", np.min(radii, axis=0), seeds=seeds)

# %%
ledger.record("c-small-scale-tail", rank_and_error(*limits["‖X♮‖ = 1"])[0], seeds=seeds)

# %% [markdown]
# And the contrast between "approximately" and "truly" is not one between the two models alone. It is one between BM
# from $\xi \ge 10^{-4}$ and UDU. From $\xi = 10^{-50}$ BM is as low-rank as UDU, or all but:

# %%
ledger.record("c-bm-tiny-init", rank_and_error(*limits["BM, ξ = 1e-50"])[0],
              seeds=seeds)

# %% [markdown]
# ## Verdicts
#
# *Reproduced* means that at least nine seeds of ten lie in the band that the paper's words give; *differs*, that at most
# one does; *in part*, what lies between. The verdicts are those of all seeds that were ever run, not of this run alone.
# The bands were written down before the runs.

# %% tags=["nbval-check-output"]
ledger.table()

# %% [markdown]
# **Summary.** UDU's low rank is real: three columns survive, the others shrink by nine decades or more, and the truth is
# found, for every initial scale and step size of Figure 1 and on all five problems. What decides is how long the ball
# presses while columns compete, which the scale of the data relative to $\alpha^3$ and the start $D_0$ set: too small,
# and there is a tail as with BM; too large, and columns that are needed die. Noise makes the low rank a plateau. A tiny
# start gives BM nearly the same low rank.
#
# ## Exercises
#
# **1.** Predict, then check: UDU with $r = 3$ columns instead of $d$. Does it still find the truth? Does BM?
#
# <details><summary>Solution</summary>
#
# ```python
# for model in (ul.UDU(rank=3), ul.BM(rank=3)):
#     few = ul.descend(problem, model, step_size=base, iterations=20_000, seed=seeds)
#     print(ul.numerical_rank(few.singular_values, rtol=1e-8), truth.relative_error(few))
# ```
#
# With $D_0 = I$ both have rank three, and BM, told the rank, is exact sooner: at size book UDU is still on its way on
# one problem. With $D_0 = 0$ UDU often fails: three columns are few, and one that starts with $u_j^\top G u_j > 0$
# keeps $\lambda_j = 0$. Notebook 04 counts the failures.
#
# </details>
#
# **2.** The rank is read off at $10^{-8}$. For which tolerances does the verdict on UDU stay the same? And on BM?
#
# <details><summary>Solution</summary>
#
# ```python
# for rtol in (1e-2, 1e-4, 1e-8, 1e-12):
#     print(rtol, *(ul.numerical_rank(t.singular_values[0], rtol=rtol) for t in (udu_steps, bm_steps)))
# ```
#
# UDU's is 3 for all of them. BM's depends on the tolerance: that is what "approximately low-rank" means.
#
# </details>
#
# **3.** Derive the scaling law: put $X = UDU^\top$ with $U \to s^{1/3}U$, $D \to s^{1/3}D$ into the update, and find
# the power of $s$ in each term.
#
# <details><summary>Solution</summary>
#
# $X$ scales with $s$, so does $G$, which is linear in $X$ and the data. $GUD$ scales with $s^{1 + 2/3} = s^{5/3}$, and
# $\eta\,GUD$ must scale as $U$ does, $s^{1/3}$: so $\eta \to s^{-4/3}\eta$. The gradient of $D$, $\mathrm{diag}(U^\top G
# U)$, scales with $s^{5/3}$ too, so the same $\eta$ serves. The ball must scale as $U$: $\alpha \to s^{1/3}\alpha$.
#
# </details>
#
# **Next:** notebook 02 maps where the bias appears over the data's scale, $D_0$, $\xi$ and $\eta$, and tries UDU on real
# ratings; notebook 04 explains the competition of the columns.
