# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # Fixed points, and why the bias is a matter of dynamics
#
# UDU writes a symmetric positive semidefinite matrix as $X = U\,\mathrm{diag}(D)\,U^\top$, keeps $\|U\|_F \le \alpha$
# and $D \ge 0$, and descends. Hou, Sra and Yurtsever (arXiv 2501.16322) find that it ends *truly* low-rank where
# Burer–Monteiro, $X = WW^\top$, is only *approximately* so. Their theory says where UDU can stop (Lemma 1, Proposition
# 1), and that it can stop at the same $X$ as Burer–Monteiro and nowhere else.
#
# So the places where it can stop cannot explain where it does stop. This notebook
#
# 1. checks Lemma 1 and Proposition 1 on live runs, on a saddle, and on points built by hand to break them;
# 2. asks which bad stopping points they exclude, and which not;
# 3. finds the explanation in the motion instead: a conserved quantity, a replicator equation, and a law for how much
#    the ball shrinks every column;
# 4. follows factorizations that run to infinity, from which the paper took the idea of UDU but which it does not show;
# 5. answers what reviewers of the paper asked: is it not just a third factor, or weight decay, or greedy learning?
#
# All proofs are on the page [Fixed points and dynamics: the theory](../book/fixed_points_theory.md). **What you need:**
# linear algebra and gradient descent. **What you can do at the end:** predict from the data whether UDU will end with
# true zeros. **Time:** under half a minute at size ci, about a minute at size book, on two cores.

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
from companion.dynamics import relatives
from companion.dynamics.logistic import planted_classification
from companion.dynamics.relatives import Relative
from companion.figures import median_range, table
from udulib.theory import fixed_points as fp

# The paper has no experiment on its lemma; all settings are ours. Nothing here needs a large matrix.
settings = {
    "ci": {
        "seeds": 5,  # of problem and start
        "shrink_steps": (0.012, 0.006),  # step sizes of the shrink law, the largest for a deviation below 2 %
        "path_step": 0.02,  # step size along which the replicator equation is summed up
        "apart": 4_000,  # iterations of the completion that runs to infinity; it has no end
        "labels": 2_000,  # iterations of the classification that runs to infinity
        "starts": 3_000,  # iterations of the count of failures, the longer the fewer late runs among them
        "runs": 2_400,  # iterations of the comparisons that reviewers asked for
    },
    "book": {
        "seeds": 10,
        "shrink_steps": (0.012, 0.006, 0.003),
        "path_step": 0.01,
        "apart": 12_000,
        "labels": 6_000,
        "starts": 10_000,
        "runs": 5_000,
    },
    "paper": {
        "seeds": 20,
        "shrink_steps": (0.012, 0.006, 0.003),
        "path_step": 0.002,
        "apart": 100_000,
        "labels": 40_000,
        "starts": 50_000,
        "runs": 40_000,
    },
}[size]

seeds = first_seed + np.arange(settings["seeds"])
d, observed = 20, 300  # side of X; entries seen, of 400. Small, so that many runs fit in seconds
eta = 0.08  # step size for the mild spectrum; at 0.1 some runs oscillate
mild = (1.5, 1.3, 1.1)  # singular values of the truth where fast convergence is wanted
sharp = (2.0, 1.8, 1.6)  # and where true zeros are: "When does the tail reach zero?" says why
rank = 3  # of the truth
checks = {}  # what the prose rests on; shown at the end

figures.use_style()
ledger = Ledger(size=size, notebook="04_fixed_points")
settings

# %%
def planted(spectrum, seeds=seeds):
    """One completion problem a seed, and their truths."""
    return ul.planted_completion(d=d, rank=rank, observed=observed, spectrum=spectrum,
                                 seed=seeds)


def descend(problem, model, **arguments):
    return ul.descend(problem, model,
                      **({"device": device, "record_at": []} | arguments))


def unit(rng, *shape):
    """Random matrices of Frobenius norm one."""
    Z = rng.standard_normal(shape)
    return Z / np.linalg.norm(Z, axis=(-2, -1), keepdims=True)


def legs(problem, model, step_size, times, **start):
    """The factors of one run after each of the given numbers of updates."""
    factors, done = [], 0
    for t in times:
        run = descend(problem, model, step_size=step_size, iterations=int(t - done),
                      **start)
        factors.append(run.factors)
        done, start = t, {"start": run.factors}
    return factors


# %% [markdown]
# ## Where can UDU stop?
#
# Write $G = \nabla f(X)$, $q_j = u_j^\top G u_j$ (the *slope* of column $j$), and the update before projection
#
# $$\bar U = U - 2\eta\, G U D, \qquad \bar\lambda_j = \lambda_j - \eta\, q_j .$$
#
# **Lemma 1 of the paper**, in our words. At a fixed point:
#
# - (a) if $\|\bar U\|_F \le \alpha$, then $\lambda_j G u_j = 0$ for every column;
# - (b) if $\|\bar U\|_F > \alpha$, then $\lambda_j G u_j = -\beta u_j$ with one $\beta > 0$;
# - (c) a *dead* column, $\lambda_j = 0$, has $q_j \ge 0$;
# - (d) a *live* column, $\lambda_j > 0$, has $q_j = 0$.
#
# **Proposition 1:** case (b) never happens. A fixed point does not press against the ball.
#
# `ul.fixed_points.residuals` turns each of these into a number that is zero where it holds. A check at the solution of
# noiseless data is weak, because there $G$ itself vanishes. So we also stop runs where $G \ne 0$: with only two columns
# the truth of rank three cannot be fitted.
#
# **Before you read on:** at the stop with two columns $G$ has a negative eigenvalue, so $f$ could still fall.
# Which of the conditions says that it does not?

# %%
problem, truth = planted(mild)
start = {"U": np.stack([unit(np.random.default_rng(s), d, d) for s in seeds]),
         "D": np.ones(d)}
# zero columns stay zero: a run with two columns
two = {"U": start["U"] * (np.arange(d) < 2), "D": start["D"]}
two["U"] /= np.linalg.norm(two["U"], axis=(-2, -1), keepdims=True)
# (all columns or two, seeds, d, d)
both = {"U": np.stack([start["U"], two["U"]]), "D": np.ones(d)}
stops = descend(problem, ul.UDU(d), step_size=eta, iterations=7_000, start=both,
                record_at=[0])

U, D = stops.factors["U"], stops.factors["D"]
G = fp.gradient(problem, U, D)
size_G = np.linalg.norm(G, axis=(-2, -1))
# ||∇f|| at the start
scale = np.linalg.norm(fp.gradient(problem, **both), axis=(-2, -1))
at_stops = fp.residuals(problem, U, D, step_size=eta)

rows = [
    ["f over f at the start",
     *(median_range((stops.final_objective / stops.objective[..., 0])[k], "{:.1e}")
       for k in (0, 1))],
    ["norm of G", *(median_range(size_G[k], "{:.1e}") for k in (0, 1))],
    ["lowest eigenvalue of G",
     *(median_range(np.linalg.eigvalsh(G)[k, :, 0], "{:.1e}") for k in (0, 1))],
    *([f"residual `{name}`",
       *(median_range((value / scale)[k], "{:.1e}") for k in (0, 1))]
      for name, value in at_stops),
]
table(["median (range over seeds)", "all columns", "two columns"], rows)

# %% [markdown]
# All residuals are round-off, relative to $\|\nabla f\|$ at the start, also where the gradient is not small. The answer
# to the question: (a) does. Every live column has $G u_j = 0$, so no column sees the direction in which $f$ falls.

# %%
ledger.record("a-lemma1-a", (at_stops.gradient / scale).max(0), seeds=seeds)

# %%
ledger.record("a-lemma1-d", (at_stops.live_slope / scale).max(0), seeds=seeds)

# %%
ledger.record("a-prop1", at_stops.pressure.max(0), seeds=seeds)

# %% [markdown]
# ### Half a fixed point: where (b) holds
#
# By Proposition 1 there is nothing to check (b) on: no fixed point meets its condition. But the U-step alone can stand
# still while it presses against the ball. Hold $D$ at its start and descend in $U$ only.
#
# **Before you read on:** the run stops with $\lambda_j G u_j = -\beta u_j$. Now let $D$ go. Which way will it
# move?

# %%
held = descend(problem, Relative(d, speed=0.0), step_size=0.5, iterations=4_000,
               init_scale=1.0, seed=seeds)
pressed = fp.residuals(problem, held.factors["U"], held.factors["D"], step_size=eta)
beta = pressed.pressure / (2 * eta)
_, D_next, _ = fp.step(problem, held.factors["U"], held.factors["D"], step_size=eta)
growth = np.sum(D_next**2 - held.factors["D"] ** 2, axis=-1)
rows = [
    ["β", median_range(beta, "{:.1e}")],
    ["residual `U_step`", median_range(pressed.U_step, "{:.1e}")],
    ["residual `multiplier`, relative to β",
     median_range(pressed.multiplier / beta, "{:.1e}")],
    ["residual `live_slope`: (d) is broken",
     median_range(pressed.live_slope, "{:.1e}")],
    ["change of the squared norm of D in the next step",
     median_range(growth, "{:.1e}")],
]
table(["D held at 1", "median (range over seeds)"], rows)

# %%
ledger.record("a-lemma1-b", np.where(beta > 0, pressed.multiplier / beta, np.inf),
              seeds=seeds)

# %% [markdown]
# $D$ grows: $q_j = -\beta\|u_j\|^2/\lambda_j < 0$ in every column with $u_j \ne 0$. That is the proof of Proposition 1,
# and the seed of part 3: **pressure on the ball is paid for by growth of $D$**.
#
# ### Points built to break one condition
#
# Take $f(X) = \tfrac12(X_{11}-2)^2 + \tfrac12 X_{22}^2$, whose gradient is $\mathrm{diag}(X_{11}-2,\ X_{22})$. One
# column suffices to break each condition on purpose.

# %%
by_hand = ul.Sensing(np.array([np.diag([1.0, 0.0]), np.diag([0.0, 1.0])]), [2.0, 0.0])
built = [  # column, λ, α, what it is
    ([1.0, 0.0], 2.0, 1.0, "fitted"),
    ([0.0, 0.0], 1.0, 1.0, "X = 0: a zero column"),
    ([0.0, 1.0], 0.0, 1.0, "X = 0: a dead column, slope 0"),
    ([1.0, 0.0], 0.0, 1.0, "breaks (c): a dead column, slope −2"),
    ([0.0, 1.0], 1.0, 2.0, "breaks (d), and so (a)"),
    ([1.0, 0.0], 1.0, 1.0, "pressed against the ball: (b) holds, (d) does not"),
    ([1.0, 0.0], 2.0, 0.5, "outside the ball, otherwise fitted"),
]
rows = []
for column, lam, alpha, what in built:
    point = fp.residuals(by_hand, np.array([column]).T, np.array([lam]), radius=alpha,
                         step_size=0.1)
    rows.append([what, ", ".join(f"`{name}`" for name, value in point if value > 1e-12)
                 or "none: a fixed point"])
table(["point", "residuals that are not zero"], rows)

# %% [markdown]
# The second and third rows are fixed points, though $f$ could fall. Part 2 comes back to them.
#
# The implications are the proved ones: (d) broken breaks (a), because $\lambda_j|q_j| \le \|\lambda_j G
# u_j\|\,\|u_j\|$; (c) or (d) broken is a step in $D$; pressure inside the ball breaks (a); and pressure always means
# that $U$ or $D$ moves.
#
# ### The same $X$ as Burer–Monteiro
#
# If $(U, D)$ is a fixed point of UDU, then $W = U\sqrt D$ satisfies Burer–Monteiro's $G W = 0$. If $GW = 0$, then $U =
# W/s$, $D = s^2$ with $s = \max(\|W\|_F/\alpha, 1)$ is a fixed point of UDU, for any radius $\alpha$. We check both
# ways, at stops with $G \ne 0$.

# %%
W = U * np.sqrt(D)[..., None, :]  # from UDU to BM
there = np.linalg.norm(fp.gradient(problem, W, np.ones(d)) @ W, axis=(-2, -1)) / scale
# one in fifty is slow
bm = descend(problem, ul.BM(2), step_size=eta, iterations=40_000, init_scale=1.0,
             seed=seeds)
radii = np.array([0.3, 1.0, 7.0])[:, None]
U_bm, D_bm = fp.from_burer_monteiro(bm.factors["U"], radius=radii)  # from BM to UDU
back = fp.residuals(problem, U_bm, D_bm, radius=radii, step_size=eta).largest / scale[1]
gap = np.linalg.norm((U_bm * D_bm[..., None, :]) @ np.swapaxes(U_bm, -1, -2)
                     - bm.product(), axis=(-2, -1))
ledger.record("a-same-fixed-points", np.max([there[0], there[1], *back, *gap], axis=0),
              seeds=seeds)

# %% [markdown]
# The abstract says that $D$ lets the model "span the entire search space". Yes: with $D$ free, every positive
# semidefinite $X$ has a factorization in the ball, however small the ball. The one with the smallest $D$ gives column
# $j$ the share $\sigma_j^{2/3}$ of $U$, and then $\|D\| = \|X\|_{S_{2/3}}/\alpha^2$, with $\|X\|_{S_{2/3}} =
# \big(\sum_j \sigma_j^{2/3}\big)^{3/2}$. Without $D$ the ball would allow only $\|X\|_* \le \alpha^2$.

# %%
worst = np.zeros(len(seeds))
for i, s in enumerate(seeds):
    rng = np.random.default_rng(s)
    for columns in range(1, d + 1):
        for magnitude in (1e-6, 1.0, 1e6):
            A = rng.standard_normal((d, columns))
            X = magnitude * A @ A.T
            U_X, D_X = fp.represent(X, radius=1.0)
            error = np.linalg.norm((U_X * D_X) @ U_X.T - X) / np.linalg.norm(X)
            worst[i] = max(worst[i], error, np.linalg.norm(U_X) - 1)
ledger.record("a-spans", worst, seeds=seeds)

# %% [markdown]
# **So the fixed points do not favour low rank.** They are those of Burer–Monteiro, for every radius. What differs is
# the motion.
#
# ## Which bad stopping points are excluded?
#
# Proposition 1 is titled "Exclusion of spurious fixed points". What it excludes are points pressed against the ball.
# Three other kinds of bad stopping points remain: those where the columns are too few (above), *zero columns* $u_j =
# 0$, and *dead columns* $\lambda_j = 0$ with $q_j \ge 0$, which see only the rising directions of $f$.
#
# We take the stop with two columns, where $f$ could still fall, and add four columns to it.
#
# **Before you read on:** which of the six starts below will leave the stop?

# %%
def columns_at(G, sign, rng, count=4):
    """Random unit columns that see a rising (+1) or a falling (-1) direction of f."""
    found = []
    while len(found) < count:
        v = rng.standard_normal(d)
        v /= np.linalg.norm(v)
        if sign * (v @ G @ v) > 0:
            found.append(v)
    return np.array(found).T  # (d, count)


rising, falling = (
    np.stack([columns_at(G[1, i], sign, np.random.default_rng(s))
              for i, s in enumerate(seeds)]) for sign in (1, -1)
)
cases = [
    ("zero columns, λ = 1", 0 * rising, 1.0),
    ("tiny columns, ‖u‖ = 1e-8, λ = 1", 1e-8 * rising, 1.0),
    ("rising columns, ‖u‖ = 1e-3, λ = 0", 1e-3 * rising, 0.0),
    ("rising columns, ‖u‖ = 1e-3, λ = 1e-6", 1e-3 * rising, 1e-6),
    ("rising columns, ‖u‖ = 1e-3, λ = 0.1", 1e-3 * rising, 0.1),
    ("falling columns, ‖u‖ = 0.03, λ = 0", 0.03 * falling, 0.0),
]
more = {
    "U": np.stack([np.concatenate([U[1, :, :, :2], extra], axis=-1)
                   for _, extra, _ in cases]),
    "D": np.stack([np.concatenate([D[1, :, :2], np.full((len(seeds), 4), lam)],
                                  axis=-1) for *_, lam in cases]),
}
after = descend(problem, ul.UDU(6), step_size=eta, iterations=6_000, start=more)
left = after.final_objective < 1e-3 * stops.final_objective[1]
# (cases, seeds, 6)
dead = (after.factors["D"] == 0) & (np.linalg.norm(after.factors["U"], axis=-2) > 0)
# die, as explained below
could = 2 * more["D"][..., 2:] ** 2 <= np.sum(more["U"][..., 2:] ** 2, axis=-2)
rows = [
    [name, f"{np.sum(left[k])} of {len(seeds)}",
     median_range(dead[k].sum(-1), "{:.0f}"), "yes" if could[k].all() else "no"]
    for k, (name, *_) in enumerate(cases)
]
checks["no column died that could not"] = not (dead[..., 2:] & ~could).any()
checks["zero columns and dead columns stay, live ones and falling ones leave"] = (
    left.all(-1).tolist() == [False, True, False, False, True, True]
    and not left[[0, 2, 3]].any()
)
table(["four columns added to the stop", "runs that left it", "dead at the end",
       "could die: ‖u‖² ≥ 2λ²"], rows)

# %% [markdown]
# - **Zero columns** never leave: the update multiplies them. This is as in Burer–Monteiro.
# - **Tiny live columns** leave, even when they see only rising directions at first: they turn, as in the power method.
# - **Dead columns** with a slope $q_j \ge 0$ do not move at all. And they *attract*: columns with a small enough
#   $\lambda_j$ lose it before they have turned. So UDU has a set of bad stopping points with a basin of positive
#   measure, which Burer–Monteiro, having no $\lambda_j$, does not have.
# - A column that sees a falling direction revives: $\lambda_j$ grows from zero.
#
# Does it happen from ordinary starts? Only when $D_0$ is small and the columns are few.

# %%
trials = first_seed + np.arange(10)
fresh, _ = planted(mild, trials)
ranks, d_starts = np.array([3, 4, 8]), np.array([0.0, 1e-3, 1.0])
wide = np.stack([np.random.default_rng(s).standard_normal((d, 8)) for s in trials])
few = np.stack([wide * (np.arange(8) < r) for r in ranks])
# (ranks, trials, d, 8): zero columns fill up to eight
few /= np.linalg.norm(few, axis=(-2, -1), keepdims=True)
begin = {"U": few,
         "D": d_starts[:, None, None, None] * np.ones((len(ranks), len(trials), 8))}
ends = descend(fresh, ul.UDU(8), step_size=eta, iterations=settings["starts"],
               start=begin, record_at=[0])
# (d_starts, ranks, trials)
failed = ends.final_objective > 1e-3 * ends.objective[..., 0]
lost = (
    (ends.factors["D"] == 0) & (np.linalg.norm(ends.factors["U"], axis=-2) > 0)
).any(-1)
rows = [
    [f"D0 = {d0:g}",
     *(f"{np.sum(failed[i, k])} of 10 ({np.sum((failed & lost)[i, k])})"
       for k in range(len(ranks)))]
    for i, d0 in enumerate(d_starts)
]
checks["no run from D0 = 1 fails, some from D0 = 0 do"] = (
    not failed[-1].any() and bool(failed[0].any())
)
table(["runs that fail (with dead columns)", *(f"r = {r}" for r in ranks)], rows)

# %% [markdown]
# The paper starts with $D_0 = I$, where no run fails. With $D_0 = 0$ and only as many columns as the truth has, a good
# part of the runs have not fitted the data. Those among them without dead columns are late, not lost: a $\lambda_j$ has
# nearly died, and grows back slowly. More columns make failures rarer, because some see a falling direction.
#
# There is a reason for the last row. Along the motion $\|u_j\|^2 - 2\lambda_j^2$ never grows, as the next part
# shows. So $\lambda_j^2 \ge \lambda_j(0)^2 - \tfrac12\|u_j(0)\|^2$ for ever, and a column with
# $\|u_j(0)\|^2 < 2\lambda_j(0)^2$ cannot die. In the table of added columns above, none died that could not; from
# $D_0 = I$ and $\|U_0\|_F \le 1$ none can, and the constraint $D \ge 0$ is never touched.
#
# The stops of both experiments carry dead columns, so they are where Lemma 1 (c) can be checked.

# %%
G_after = fp.gradient(problem, after.factors["U"], after.factors["D"])
U_after = after.factors["U"]
slope = np.sum(U_after * (G_after @ U_after), axis=-2)  # q_j, (cases, seeds, 6)
slope /= np.maximum(np.sum(U_after**2, axis=-2),
                    1e-300) * np.linalg.norm(G_after, axis=(-2, -1))[..., None]
ledger.record("a-lemma1-c", np.max(np.where(dead, -slope, -np.inf), axis=(0, 2)),
              seeds=seeds)

# %% [markdown]
# ## The motion
#
# In the limit of small steps, and with $\mu \ge 0$ for the pull of the ball, zero inside,
#
# $$\dot u_j = -2\lambda_j G u_j - \mu u_j, \qquad \dot\lambda_j = -q_j .$$
#
# ### Inside the ball: a conserved quantity
#
# $\tfrac{d}{dt}\big(\|u_j\|^2 - 2\lambda_j^2\big) = -2\mu\|u_j\|^2$. So inside the ball, where $\mu = 0$,
# **$\|u_j\|^2 - 2\lambda_j^2$ is conserved in every column**: a column can grow only together with its $\lambda_j$.
# (On the ball it falls.) Finite steps make it drift, in proportion to $\eta$ over a given time.

# %%
inside = {"U": 0.2 * start["U"], "D": np.full((len(seeds), d), 0.5)}
halvings = np.array([0.02, 0.01, 0.005, 0.0025])
drift = []
for h in halvings:
    moved = descend(problem, ul.UDU(d, radius=50.0), step_size=h,
                    iterations=round(2 / h), start=inside).factors
    drift.append(np.linalg.norm(fp.conserved(moved["U"],
                                             moved["D"]) - fp.conserved(**inside),
                                axis=-1))
drift = np.array(drift)  # (halvings, seeds)
orders = -np.polyfit(np.log2(1 / halvings), np.log2(drift), 1)[0]
rows = [[f"η = {h:g}", median_range(e, "{:.1e}"),
         median_range(e / f, "{:.2f}") if f is not None else ""]
        for h, e, f in zip(halvings, drift, [*drift[1:], None], strict=True)]
table(["step size", "drift over the time ηt = 2",
       "drift over the drift at half the step"], rows)

# %%
ledger.record("c-conserved", orders, seeds=seeds)

# %% [markdown]
# ### The shares: a replicator equation
#
# Let $p_j = \|u_j\|^2/\|U\|_F^2$ be column $j$'s share of $U$, and $\varphi_j = -\lambda_j q_j/\|u_j\|^2$ its
# *fitness*: how fast it grows. Whatever common factor rescales $U$,
#
# $$\dot p_j = 4\,p_j\Big(\varphi_j - \sum_k p_k\varphi_k\Big) .$$
#
# It is the replicator equation of evolutionary dynamics: columns fitter than the average gain share, the others lose
# it. A column is fit if it points to where $f$ falls, *and* if its $\lambda_j$ is already large; and its $\lambda_j$
# grows while it is fit. The winner takes more.
#
# We follow one run step by step, sum up the right-hand side along the way, and compare. The truth has singular values
# 3, 2, 1, as in the authors' code.

# %%
h = settings["path_step"]
steps = round(30 / h)
pathway, _ = planted((3.0, 2.0, 1.0))
U_t, D_t = start["U"], np.ones((len(seeds), d))
shares, integral, missed, moved = [], [np.zeros((len(seeds), d))], [], []
trial_steps = np.array([4e-3, 2e-3, 1e-3])
for t in range(steps):
    now = fp.replicator(pathway, U_t, D_t)
    shares.append(now.shares)
    mean = np.sum(now.shares * now.fitness, axis=-1, keepdims=True)
    integral.append(integral[-1] + 4 * h * (now.fitness - mean))
    if t % (steps // 40) == 0:  # how well is one small step predicted?
        # (3, seeds, d)
        sizes = np.sum(fp.step(pathway, U_t, D_t,
                               step_size=trial_steps[:, None])[0] ** 2, axis=-2)
        change = (
            sizes / sizes.sum(-1, keepdims=True) - now.shares
        ) / trial_steps[:, None, None]
        missed.append(np.linalg.norm(change - now.velocity, axis=-1))
        moved.append(np.linalg.norm(now.velocity, axis=-1))
    U_t, D_t, _ = fp.step(pathway, U_t, D_t, step_size=h)
shares, integral = np.array(shares), np.array(integral[:-1])  # (steps, seeds, d)

# %%
fig, ax = plt.subplots()
clock = h * np.arange(steps)
order = np.argsort(-shares[-1, 0])
for k, j in enumerate(order):
    colour = figures.COLOURS[k] if k < rank else "#999999"
    label = ("largest", "second", "third")[k] if k < rank else "the others" if k == rank else None
    ax.semilogy(clock, shares[:, 0, j], color=colour, label=label, linewidth=2.5 if k < rank else 1)
    ax.semilogy(clock, shares[0, 0, j] * np.exp(integral[:, 0, j]), color="black", linewidth=0.8, linestyle=":")
ax.set(xlabel="time ηt", ylabel="share of U", ylim=(1e-32, 3))
ax.legend(title="column")
figures.show(
    fig,
    alt="Shares of the twenty columns of U over time on a logarithmic axis. Two stay of order one. The third falls by "
    "many orders of magnitude and then rises to order one; the others fall by tens of orders. Dotted predictions lie "
    "close to all lines.",
    caption="Shares of the columns of $U$ in one run. Dotted: the start times the exponential of the summed "
    "right-hand side of the replicator equation.",
    name="fig-fixed-replicator",
)

# %% [markdown]
# The column that will carry the third eigenvector first falls with all other losers, by many orders of magnitude. When
# the first two are fitted, nothing fitter is left, and it grows: the stairs of the paper's Figure 1. What is left of it
# by then is the seed.

# %%
missed, moved = np.array(missed), np.array(moved)  # (points, 3, seeds), (points, seeds)
# of the error, between the largest and the smallest trial step
order = np.log2(missed[:, 0] / missed[:, 2]) / 2
rows = [
    [f"η = {h:g}",
     *(median_range((missed[:, k] / size).max(0), "{:.1e}")
       for size in (moved.max(0), moved))]
    for k, h in enumerate(trial_steps)
]
table(["error of one step, largest along the run", "over the largest velocity",
       "over the velocity there"], rows)

# %% [markdown]
# The error is proportional to $\eta$, as it must be. (The last column is larger where the shares turn and nearly rest:
# there it divides by next to nothing.)

# %%
ledger.record("c-replicator", order[np.abs(order - 1).argmax(0), np.arange(len(seeds))],
              seeds=seeds)

# %% [markdown]
# ### The ball: a law of shrinking
#
# The replicator equation holds without the ball, too. What the ball adds is size. Each projection multiplies *all*
# columns by the same $c_t \le 1$. How much in total? Since $\tfrac{d}{dt}\|U\|_F^2 = -4\langle G, X\rangle -
# 2\mu\|U\|_F^2$ and $\tfrac{d}{dt}\|D\|^2 = -2\langle G, X\rangle$,
#
# $$\sum_t \log\frac{1}{c_t} \;=\; \frac{1}{\alpha^2}\Big(\Delta\|D\|^2 - \tfrac12\,\Delta\|U\|_F^2\Big) + O(\eta) ,$$
#
# from the start, pressed or not. On the sphere, $\Delta\|U\|_F^2 = 0$. So the shrinking is paid for by the growth of
# $D$, and its amount does not depend on the step size.
#
# We check it over five scales of the data, $X_\natural \to s X_\natural$, with $\alpha = 1$ throughout.
#
# **Before you read on:** for which scale will the fourth singular value be smallest at the end?

# %%
stretch = np.array([0.4, 0.55, 0.7, 0.8, 0.9])
flat = [planted(np.array(sharp) * s, [seed])[0] for s in stretch for seed in seeds]
scaled = ul.stack([ul.Completion(p.rows[0], p.cols[0], p.b[0], p.shape, symmetric=True)
                   for p in flat])
on_sphere = {"U": np.tile(start["U"], (len(stretch), 1, 1)), "D": np.ones(d)}
law = {}
for h in settings["shrink_steps"]:
    # the same time for every step size; a scale s takes steps of η / s²
    iterations = round(38 / h)
    law[h] = descend(
        scaled, ul.UDU(d), step_size=h / np.repeat(stretch, len(seeds)) ** 2,
        iterations=iterations, start=on_sphere,
        record=("columns", "shrink"),
        record_at=np.unique(np.geomspace(1, iterations, 30).round().astype(int)) - 1,
    )
finest = law[settings["shrink_steps"][-1]]


def by_scale(values):
    return values.reshape(len(stretch), len(seeds), *values.shape[1:])


deviation = {h: by_scale(np.abs(t.log_shrink[:, -1] / fp.shrink_law(t)[:, -1] - 1))
             for h, t in law.items()}
summed, expected = (
    by_scale(finest.log_shrink[:, -1]), by_scale(fp.shrink_law(finest)[:, -1])
)
rows = [
    [f"s = {s:g}", median_range(summed[k], "{:.1f}"),
     median_range(expected[k], "{:.1f}"),
     *(f"{deviation[h][k].max():.2%}" for h in law)]
    for k, s in enumerate(stretch)
]
table(["scale", "Σ log(1/c)", "Δ‖D‖² − ½ Δ‖U‖²",
       *(f"largest difference, η = {h:g}" for h in law)], rows)

# %%
ledger.record("c-shrink", np.max([d.max(0) for d in deviation.values()], axis=0),
              seeds=seeds)

# %% [markdown]
# ### When does the tail reach zero?
#
# Call the total $K = \sum_t\log(1/c_t)$. A column that does not win is multiplied by $e^{-K}$, and its singular value
# by $e^{-2K}$, times what it grew by itself. And $K$ can be predicted: at the end $D$ must be large enough to carry
# $X$, and the smallest such $D$ has $\|D\|^2 = \|X\|_{S_{2/3}}^2/\alpha^4$. So
#
# $$K \approx \frac{\|X_\natural\|_{S_{2/3}}^2}{\alpha^6} = \frac{1}{\alpha^6}\Big(\sum_j\sigma_j^{2/3}\Big)^3 .$$
#
# It is an estimate, not a theorem: it leaves out $D_0$ and what the losing columns' $\lambda_j$ gain, which nearly
# cancel here. It says why the scale of the data and $\alpha$ decide, in the combination $\|X\|/\alpha^3$, and why step
# size and initial scale do not.

# %%
predicted = stretch**2 * np.sum(np.array(sharp) ** (2 / 3)) ** 3
shrunk, s = by_scale(finest.log_shrink[:, -1]), by_scale(finest.singular_values)
fig, ax = plt.subplots()
for k, value in enumerate(stretch):
    ax.semilogy(shrunk[k], s[k, :, rank] / s[k, :, 0], "o", alpha=0.8, label=f"s = {value:g}")
    ax.axvline(predicted[k], color=f"C{k}", linewidth=0.8, linestyle=":")
ax.set(xlabel="K, the sum of log(1/c)", ylabel="fourth singular value over the first", ylim=(1e-40, 1))
ax.legend()
figures.show(
    fig,
    alt="Fourth singular value against the total shrinking K, one group of points for each scale of the data. The "
    "value falls from about one hundredth to below 1e-30 as K grows, and K lies near its prediction in each group.",
    caption="The tail is set by the total shrinking $K$. Dotted lines: $K$ as predicted from the truth alone.",
    name="fig-fixed-tail",
)

# %% [markdown]
# In the smallest data the ball does nearly nothing, and UDU ends as Burer–Monteiro does, with a visible tail. From $K$
# of about 60 on, the fourth singular value is zero to a computer.
#
# **Two exact consequences.** First, the scaling law: $X_\natural\to sX_\natural$ with $(\alpha, D_0, \xi,
# \eta)\to(s^{1/3}\alpha,\ s^{1/3}D_0,\ s^{1/3}\xi,\ s^{-4/3}\eta)$ gives the same run. Second, $\alpha$ is a ratio of
# speeds: radius $\alpha$ is radius 1 with steps $\eta/\alpha^2$ in $U$ and $\eta\,\alpha^4$ in $D$. On the unit sphere,
# $D$ is $\alpha^6$ times as fast as $U$; the smaller the ball, the more $U$ has to turn before $D$ can follow.

# %%
small, s = 0.8, 7.0
one = dict(iterations=300, start={"U": start["U"], "D": np.ones(d)})
reference = descend(problem, ul.UDU(d), step_size=0.05, **one).product()
larger, _ = planted(np.array(mild) * s)
again = descend(larger, ul.UDU(d, radius=s ** (1 / 3)), step_size=0.05 * s ** (-4 / 3),
                iterations=300,
                start={"U": s ** (1 / 3) * start["U"],
                       "D": np.full(d, s ** (1 / 3))}).product()
balled = descend(problem, ul.UDU(d, radius=small), step_size=0.05, iterations=300,
                 start={"U": small * start["U"], "D": np.ones(d)}).product()
speeds = descend(problem, Relative(d, speed=small**6), step_size=0.05 / small**2,
                 iterations=300,
                 start={"U": start["U"], "D": np.full(d, small**2)}).product()
checks["scaling law, to 1e-10"] = bool(np.abs(again / s - reference).max() < 1e-10)
checks["a radius is a ratio of speeds, to 1e-10"] = bool(np.abs(balled - speeds).max()
                                                         < 1e-10)
table(["largest difference in X", ""],
      [["scaling law", f"{np.abs(again / s - reference).max():.1e}"],
       ["radius as a ratio of speeds", f"{np.abs(balled - speeds).max():.1e}"]])

# %% [markdown]
# ### When true zeros come too early
#
# A column at exact zero stays there. If $K$ is so large that $e^{-K}$ underflows before the last eigenvector has been
# found, its seed is gone. float32 underflows at about $e^{-103}$, float64 at $e^{-745}$.
#
# **Before you read on:** the truth has singular values 6, 6 and 2.5. Two of them are found first, and to
# carry those takes $K \approx (2\cdot 6^{2/3})^3 = 288$. What will happen to the third, in each precision?

# %%
large, large_truth = planted((6.0, 6.0, 2.5))
rows = []
for dtype in ("float32", "float64"):
    run = descend(large, ul.UDU(6), step_size=0.007, iterations=11_000, init_scale=1.0,
                  seed=seeds, dtype=dtype,
                  record=("shrink",), record_at=np.arange(999, 11_000, 1_000),
                  stop_when_stalled=True)
    zero = np.linalg.norm(run.factors["U"], axis=-2) == 0
    found = ul.numerical_rank(run.singular_values, rtol=1e-5)
    rows.append([dtype, median_range(found, "{:.0f}"),
                 median_range(zero.sum(-1), "{:.0f}"),
                 f"{np.sum(run.status == 'stalled')} of {len(seeds)}",
                 median_range(run.log_shrink[:, -1], "{:.0f}")])
    if dtype == "float32":
        checks["float32 ends at rank two in at least four of five runs"] = bool(
            np.mean(found == 2) >= 0.8
        )
    else:
        checks["float64 ends at rank three"] = bool((found == 3).all())
table(["precision", "rank", "columns at exact zero", "stalled", "K"], rows)

# %% [markdown]
# In float32 nearly every run stops for good at rank two, with all other columns at exact zero. In float64 the third
# eigenvector is found each time. Too small a radius is worse than too large a one: pick $\alpha$ so that the predicted
# $K$ is between about 60 and 100.
#
# ## Running to infinity
#
# The abstract starts from an observation: the bias of plain factorization does not go away when the sequences are
# unbounded. While the factors grow, they become low-rank and turn towards certain directions. UDU is meant to bring that
# motion to problems whose solution is finite: $U$ stays bounded, $D$ may run. The paper shows no unbounded run. Here are
# two.
#
# ### A matrix that cannot be completed within bounds
#
# Razin and Cohen (2020) complete a 2×2 matrix from three entries,
#
# $$X = \begin{pmatrix} ? & 1 \\ 1 & 0\end{pmatrix} .$$
#
# Every completion has $\det X = -1$, so rank two; but with $X_{11}\to\infty$ rank one comes as near as one likes. A
# positive semidefinite $X$ has $X_{11} X_{22} \ge X_{12}^2$, which at misfit $f$ means $X_{11} \ge (1-\sqrt
# f)^2/\sqrt{2f}$: as $f \to 0$, $X$ *must* run to infinity.
#
# **Before you read on:** compare descent on $X$ itself, on $UU^\top$ (Burer–Monteiro), on $UV^\top$, on three
# factors, and UDU. Which of them end with rank one? Which stay bounded?

# %%
entries = ([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
folded, open_ended = ul.Completion(*entries, symmetric=True), ul.Completion(*entries)
apart = settings["apart"]
grid = np.unique(np.geomspace(1, apart, 40).round().astype(int))
h = 0.02
symmetric = descend(
    folded, Relative(2, radius=np.array([[1e6], [1.0]]),
                     speed=np.array([[0.0], [1.0]]) * np.ones(len(seeds))),
    step_size=h, iterations=apart, init_scale=0.3, seed=seeds, record_at=grid - 1,
)  # radius 10⁶ and a resting D = 1 is Burer-Monteiro; radius 1 is UDU
P = np.stack([0.1
              * (np.eye(2) + 0.3 * np.random.default_rng(s).standard_normal((2, 2)))
              for s in seeds])
# det P > 0: descent on balanced factors of P must run to infinity if its steps are
# small
A, S, B = np.linalg.svd(P)


def balanced(depth):
    root = (S ** (1 / depth))[..., None] * np.eye(2)
    return [P] if depth == 1 else [A @ root, *[root] * (depth - 2), root @ B]


chains = {n: relatives.chain(open_ended, balanced(n), step_size=h, record_at=grid)
          for n in (1, 2, 3)}
series = {
    "X itself": np.linalg.svd(chains[1].product, compute_uv=False),
    "UVᵀ": np.linalg.svd(chains[2].product, compute_uv=False),
    "three factors": np.linalg.svd(chains[3].product, compute_uv=False),
    "BM": symmetric.spectra[0],
    "UDU": symmetric.spectra[1],
}  # (seeds, T, 2)
objectives = [*(chains[n].objective for n in (1, 2, 3)), *symmetric.objective]

# %%
fig, (above, below) = plt.subplots(2, 1, figsize=(6.4, 6.4), sharex=True)
for (name, s), style in zip(series.items(), ("-", "--", "-.", "-", "-"), strict=True):
    above.loglog(h * grid, np.median(s[..., 0], 0), style, label=name)
    below.loglog(h * grid, np.maximum(np.median(s[..., 1] / s[..., 0], 0), 1e-33), style, label=name)
above.set(ylabel="largest singular value")
below.set(ylabel="second over first", xlabel="time ηt")
above.legend()
figures.show(
    fig,
    alt="Two panels over time. Above, the largest singular value: descent on X itself levels off at about one, all "
    "factorizations grow. Below, the ratio of the second to the first: it falls to zero for BM and UDU, slower for "
    "three factors, and stays near one for X itself.",
    caption="Razin and Cohen's completion, medians over the seeds. Descent on $X$ itself is bounded and has rank two; "
    "the factorizations grow, and their rank falls to one. $UV^\\top$ leaves that path in the end.",
    name="fig-fixed-unbounded",
)

# %%
half = len(grid) // 2  # half of the logarithmic time axis
rows = []
for (name, s), f in zip(series.items(), objectives, strict=True):
    # of X_11, for positive semidefinite X
    least = (1 - np.sqrt(f[:, -1])) ** 2 / np.sqrt(2 * f[:, -1])
    rows.append([
        name, median_range(f[:, -1], "{:.1e}"), median_range(s[:, -1, 0], "{:.2f}"),
        median_range(least, "{:.2f}") if name in ("BM", "UDU") else "",
        median_range(s[:, -1, 0] / s[:, half, 0], "{:.2f}"),
        median_range(ul.effective_rank(s[:, -1]), "{:.3f}"),
    ])
checks["X itself stays bounded with rank two, BM, UDU and three factors have "
       "rank one"] = bool(
    (ul.effective_rank(series["X itself"][:, -1]) > 1.9).all()
    and all((ul.effective_rank(series[name][:, -1]) < 1.01).all()
            for name in ("BM", "UDU", "three factors"))
)
table(["", "f", "largest singular value", "least X₁₁ at this f",
       "growth over the second half", "effective rank"], rows)

# %% [markdown]
# Burer–Monteiro grows as long as we look, and has rank one: the paper's observation holds. So do three factors, and
# UDU, whose $U$ is bounded: there it is $D$ that grows. Descent on $X$ itself fits the data with rank two and stays
# bounded. So the bias comes from the factorization, not from the data.
#
# $UV^\top$ is a surprise. In the limit of small steps, and from factors as balanced as these, its determinant cannot
# change sign, and it must diverge as well (Razin and Cohen). Yet here the smallest singular value crosses zero, and
# then the run settles on a finite matrix of rank two. Is the step size too large?

# %%
rows = []
for h in (0.04, 0.02, 0.01):
    fine = np.unique(np.geomspace(1, 30 / h, 80).round().astype(int))
    sign = np.linalg.det(relatives.chain(open_ended, balanced(2), step_size=h,
                                         record_at=fine).product) < 0
    first_time = np.where(sign.any(-1), h * fine[sign.argmax(-1)], np.inf)
    rows.append([f"η = {h:g}", median_range(first_time, "{:.1f}")])
checks["UVᵀ changes the sign of its determinant at every step size tried"] = bool(
    sign.any(-1).all()
)
table(["descent on UVᵀ", "time ηt at which the determinant changes sign"], rows)

# %% [markdown]
# Halving the step delays the crossing a little and does not prevent it: the imbalance that finite steps leave between
# $U$ and $V$ grows exponentially, as in the trap of notebook 08. Balanced factors are an unstable set of the motion.
# The symmetric factorizations have no imbalance to grow, and cannot cross zero.

# %%
s = series["BM"]
unbounded = (
    (s[:, -1, 0] > 1.2 * s[:, half, 0]) & (s[:, half, 0] > 1.2 * s[:, half // 2, 0])
)
one = ul.effective_rank(s[:, -1]) < 1.01
ledger.record("a-unbounded", unbounded & one, seeds=seeds)

# %% [markdown]
# ### Labels instead of numbers
#
# With a logistic loss on separable labels, $f(X) = \tfrac1n\sum_i\log(1+e^{-y_i\langle A_i, X\rangle})$, nothing bounds
# $X$: all that matters is its direction. Sixty Gaussian matrices of size 10×10 are labelled by a matrix of rank two.
# *Alignment* below is the average cosine between a column $u_j$ and $-Gu_j$, weighted by $\lambda_j\|u_j\|^2$: at 1,
# every column is an eigenvector of $-G$, which is Lemma 1 (b).

# %%
side, many = 10, settings["labels"]
labelled = planted_classification(d=side, rank=2, samples=60, seed=seeds)
grid = np.unique(np.geomspace(1, many, 21).round().astype(int))
first = [unit(np.random.default_rng(k), first_seed + len(seeds), side,
              side)[first_seed:] for k in range(3)]
begin = {"init_scale": 0.1, "seed": seeds}
runs = {
    "BM": legs(labelled, ul.BM(side), 0.5, grid, **begin),
    "UDU": legs(labelled, ul.UDU(side), 0.05, grid, **begin),
}
chained = {
    "X itself": relatives.chain(labelled, [0.1 * first[0]], step_size=0.5,
                                record_at=grid),
    "three factors": relatives.chain(labelled, first, step_size=0.2, record_at=grid),
}


def product(U, D):
    return (U * D[..., None, :]) @ np.swapaxes(U, -1, -2)


def alignment(U, D):
    GU = fp.gradient(labelled, U, D) @ U
    size, pull = np.linalg.norm(U, axis=-2), np.linalg.norm(GU, axis=-2)
    cosine = -np.sum(U * GU, axis=-2) / np.maximum(size * pull, 1e-300)
    return np.sum(D * size**2 * cosine, -1) / np.sum(D * size**2, -1)


# each with the grid first: (T, seeds, ...)
spectra, directions, aligned, norms = {}, {}, {}, {}
for name, factors in runs.items():
    points = [(f["U"], f.get("D", np.ones((len(seeds), side)))) for f in factors]
    spectra[name] = np.stack([ul.singular_values(*point) for point in points])
    aligned[name] = np.stack([alignment(*point) for point in points])
    norms[name] = np.stack([np.linalg.norm(U, axis=(-2, -1)) for U, _ in points])
    X = np.stack([product(*point) for point in points])
    directions[name] = X / np.linalg.norm(X, axis=(-2, -1), keepdims=True)
for name, chain in chained.items():
    X = np.moveaxis(chain.product, 1, 0)
    spectra[name] = np.linalg.svd((X + np.swapaxes(X, -1, -2)) / 2, compute_uv=False)

# %%
fig, axes = plt.subplots(3, 1, figsize=(6.4, 8.4), sharex=True)
for name, s in spectra.items():
    axes[0].loglog(grid, np.median(s[..., 0], 1), label=name)
    axes[1].semilogx(grid, np.median(ul.effective_rank(s), 1))
    if name in aligned:
        axes[2].semilogx(grid, np.median(aligned[name], 1))
axes[0].set(ylabel="largest singular value")
axes[1].set(ylabel="effective rank", ylim=(0, side))
axes[2].set(ylabel="alignment", xlabel="iteration", ylim=(0, 1.05))
axes[0].legend()
figures.show(
    fig,
    alt="Three panels over iterations. The largest singular value of X grows without levelling off for all four "
    "parametrisations. The effective rank stays near seven for X itself, falls to about three for three factors and "
    "BM, and to two for UDU. The alignment of columns with eigenvectors rises to nearly one for BM and to one for UDU.",
    caption="Separable labels, medians over the seeds. All four run to infinity; the factorizations do so with low "
    "effective rank, UDU with the rank of the matrix behind the labels.",
    name="fig-fixed-labels",
)

# %%
middle = len(grid) // 2
cosine = {name: np.sum(X[middle] * X[-1], axis=(-2, -1))
          for name, X in directions.items()}
rows = [
    [name, median_range(s[-1, :, 0], "{:.1f}"),
     median_range(ul.effective_rank(s[-1]), "{:.2f}"),
     median_range(s[-1, :, 3] / s[-1, :, 0], "{:.1e}"),
     *((median_range(v[name], "{:.3f}") if name in v else "")
       for v in (cosine, {n: a[-1] for n, a in aligned.items()}))]
    for name, s in spectra.items()
]
checks["UDU: fourth singular value of the classifier below 1e-12 of the first; BM: "
       "above"] = bool(
    (spectra["UDU"][-1, :, 3] < 1e-12 * spectra["UDU"][-1, :, 0]).all()
    and (spectra["BM"][-1, :, 3] > 1e-12 * spectra["BM"][-1, :, 0]).all()
)
head = ["", "largest singular value", "effective rank", "fourth over first",
        "cosine over the second half", "alignment"]
table(head, rows)

# %% [markdown]
# The hypothesis holds for plain factorization: the norm grows, the direction settles, its columns turn into
# eigenvectors of $-G$, and the effective rank is far below that of descent on $X$ itself. What plain factorization does
# not give is zeros.
#
# UDU does. On the way to infinity $D$ grows without bound, so by the shrink law $K = \Delta\|D\|^2/\alpha^2$ grows
# without bound, too: the tail is pushed to zero *for ever*. On finite data $D$ stops growing, and $K$ stops with it.
# That is the exact sense in which UDU takes the divergent motion to finite data: $D$ must run as far as
# $\|X\|_{S_{2/3}}/\alpha^2$, and the smaller the ball, the farther.

# %%
half_way = np.sum(directions["BM"][middle // 2] * directions["BM"][middle],
                  axis=(-2, -1))
grows = norms["BM"][-1] > 1.05 * norms["BM"][middle]
settles = (cosine["BM"] > half_way) & (aligned["BM"][-1] > 0.95)
falls = (
    ul.effective_rank(spectra["BM"][-1])
    < 0.5 * ul.effective_rank(spectra["X itself"][-1])
)
ledger.record("a-align", grows & settles & falls, seeds=seeds)

# %% [markdown]
# ## What reviewers asked
#
# The paper was reviewed in public. The questions below are those of its reviewers; each gets one small experiment. All
# runs complete the same matrices of rank three (singular values 2, 1.8, 1.6: predicted $K \approx 87$) from the same
# starts.
#
# **Before you read on:** UDU has three factors, a ball, and a sign constraint. Which of the three makes the
# zeros?

# %%
problem, truth = planted(sharp)
ones = [planted(sharp, [s])[0] for s in seeds]
rectangular = ul.stack([ul.Completion(p.rows[0], p.cols[0], p.b[0], p.shape)
                        for p in ones])
NO_BALL = 1e6
variants = {  # radius, weight decay on U, speed of D
    "UDU": (1.0, 0.0, 1.0),
    "UDU without the ball": (NO_BALL, 0.0, 1.0),
    "BM": (NO_BALL, 0.0, 0.0),
    "no ball, weight decay 0.01 on U": (NO_BALL, 0.01, 1.0),
    "no ball, weight decay 0.1 on U": (NO_BALL, 0.1, 1.0),
    "UDU, radius 0.8": (0.8, 0.0, 1.0),
    "UDU, radius 1.5": (1.5, 0.0, 1.0),
    "UDU, radius 3": (3.0, 0.0, 1.0),
}
radius, decay, speed = (np.array([v[i] for v in variants.values()])[:, None]
                        * np.ones(len(seeds)) for i in range(3))
compared = descend(problem, Relative(d, radius=radius, decay=decay, speed=speed),
                   step_size=0.05,
                   iterations=settings["runs"], init_scale=0.1, seed=seeds,
                   record=("shrink",),
                   record_at=[settings["runs"] - 1])
outcome = {}  # singular values, relative error, f, K
for k, name in enumerate(variants):
    K = median_range(compared.log_shrink[k, :, -1], "{:.0f}")
    error = truth.relative_error(compared.product()[k])
    outcome[name] = compared.singular_values[k], error, compared.final_objective[k], K
run = descend(problem, Relative(d, ball="spectral"), step_size=0.05,
              iterations=settings["runs"], init_scale=0.1,
              seed=seeds, record=("shrink",), record_at=[settings["runs"] - 1])
outcome["UDU, spectral ball"] = (
    run.singular_values, truth.relative_error(run), run.final_objective,
    median_range(run.log_shrink[:, -1], "{:.0f}")
)
first = [np.random.default_rng(k).standard_normal((first_seed + len(seeds), d,
                                                   d))[first_seed:] / d
         for k in range(3)]
for kind, name in (("none", "three matrices"),
                   ("spectral", "three matrices, spectral normalisation"),
                   ("frobenius", "three matrices, Frobenius balls outside")):
    chain = relatives.chain(rectangular, first, step_size=0.1,
                            record_at=[settings["runs"] // 2], ball=kind)
    X = chain.product[:, 0]
    outcome[name] = (
        np.linalg.svd(X, compute_uv=False), truth.relative_error(X),
        chain.objective[:, 0], "",
    )
Xs, f = relatives.greedy(problem, rank, step_size=0.05, iterations=1_200)
s = np.linalg.svd(Xs[:, -1], compute_uv=False)
outcome["greedy learning, three stages"] = (
    s, truth.relative_error(Xs[:, -1]), f[:, -1], ""
)

rows = [
    [name, median_range(s[:, rank] / s[:, 0], "{:.1e}"),
     median_range(ul.numerical_rank(s, rtol=1e-8), "{:.0f}"),
     median_range(error, "{:.1e}"), median_range(f, "{:.1e}"), K]
    for name, (s, error, f, K) in outcome.items()
]
table(["", "fourth singular value over the first", "rank at 1e-8", "relative error",
       "f", "K"], rows)

# %%
tails = {name: s[:, rank] / s[:, 0] for name, (s, *_) in outcome.items()}
zeros = ("UDU", "UDU, radius 0.8", "three matrices, Frobenius balls outside", "greedy learning, three stages")
visible = ("UDU without the ball", "BM", "UDU, radius 3", "three matrices", "three matrices, spectral normalisation")
checks["true zeros with the Frobenius ball, also around a full middle matrix"] = bool(
    max(tails[name].max() for name in zeros) < 1e-14
)
checks["a visible tail without it, with two factors and with three"] = bool(
    min(tails[name].min() for name in visible) > 1e-6
)
checks["without the ball UDU's tail is BM's, within a factor of two"] = bool(
    np.abs(np.log2(tails["UDU without the ball"] / tails["BM"])).max() < 1
)
checks["no entry of D near zero at the end"] = bool(compared.factors["D"].min() > 0.5)
checks["weight decay: a smaller tail than without, and a larger misfit than UDU"] = bool(
    (tails["no ball, weight decay 0.1 on U"] < 1e-3 * tails["UDU without the ball"]).all()
    and (outcome["no ball, weight decay 0.1 on U"][2] > 10 * outcome["UDU"][2]).all()
)
checks["greedy learning is exact here"] = bool(outcome["greedy learning, three stages"][1].max() < 1e-10)
shown = ("UDU", "UDU without the ball", "BM", "no ball, weight decay 0.1 on U", "three matrices",
         "three matrices, Frobenius balls outside")
fig, ax = plt.subplots()
for name, marker in zip(shown, "osv^Dx", strict=True):
    s = outcome[name][0]
    middle = np.maximum(np.median(s / s[:, :1], 0), 1e-34)
    ax.semilogy(np.arange(1, d + 1), middle, marker=marker, markersize=4, linewidth=1, label=name)
ax.set(xlabel="index", ylabel="singular value over the first", ylim=(1e-35, 30))
ax.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.12))
figures.show(
    fig,
    alt="Spectra of six methods. Those with a Frobenius ball fall to round-off after the third value. UDU without the "
    "ball and BM decay alike and slowly, three free matrices slower still; weight decay lies between.",
    caption="Final spectra, medians over the seeds. Products of full matrices end at $10^{-16}$, where the computer's "
    "singular values do; spectra of $U\\sqrt D$ are resolved further.",
    name="fig-fixed-relatives",
)

# %% [markdown]
# **Is it only depth three?** No. UDU without its ball ends with the tail of Burer–Monteiro, and three full matrices
# have a longer one. Put the outer two of the three matrices into Frobenius balls and leave the middle one free, and the
# zeros are back. So it is the ball; $D$ need not even be diagonal.
#
# **The sign constraint?** No: from $D_0 = I$ no $\lambda_j$ can die (part 2), so nothing is ever clipped.
#
# **Depth three with spectral normalisation?** It helps, and less. A spectral ball presses only while the *largest*
# direction of $U$ grows; it shrinks all columns by a smaller $K$ (last column of the table).
#
# **Weight decay on U?** It is the same mechanism with a constant $\mu$: it shrinks the tail for as long as one
# descends, so longer runs have smaller tails. But it never stops pulling on the winners either, and leaves a misfit.
# UDU's ball lets go when the data are fitted: Proposition 1.
#
# **Greedy low-rank learning** (Li, Luo and Lyu 2021): one eigenvector of $-\nabla f$ at a time, each followed by a
# descent. On these noiseless problems it is exact after $3 \times 1200$ steps. UDU does not beat it; the next cell asks
# whether UDU follows it.

# %%
stairs, _ = planted((4.0, 2.0, 1.0))
stages, _ = relatives.greedy(stairs, rank, step_size=0.01, iterations=1_200)
times = np.unique(np.geomspace(50, 3_000, 30).round().astype(int))


pathways = {  # radius, speed of D, ξ
    "UDU, ξ = 0.01": (1.0, 1.0, 1e-2),
    "BM, ξ = 0.01": (NO_BALL, 0.0, 1e-2),
    "BM, ξ = 1e-6": (NO_BALL, 0.0, 1e-6),
}
radius, speed, xi = (np.array([v[i] for v in pathways.values()])[:, None]
                     * np.ones(len(seeds)) for i in range(3))
climbed = legs(stairs, Relative(d, radius=radius, speed=speed), 0.01, times,
               init_scale=xi, seed=seeds)
# (T, methods, seeds, 1, d, d)
X = np.stack([product(f["U"], f["D"]) for f in climbed])[..., None, :, :]
near = (np.linalg.norm(X - stages,
                       axis=(-2, -1)) / np.linalg.norm(stages, axis=(-2, -1))).min(0)
# each (stages, seeds)
paths = dict(zip(pathways, np.moveaxis(near, -1, 1), strict=True))
checks["BM from a tiny start is nearest to the greedy path"] = bool(
    np.median(paths["BM, ξ = 1e-6"][0]) < 0.5 * np.median(paths["UDU, ξ = 0.01"][0])
)
rows = [[name, median_range(near[0], "{:.3f}"), median_range(near[1], "{:.3f}")]
        for name, near in paths.items()]
table(["nearest distance to", "first stage", "second stage"], rows)

# %% [markdown]
# UDU climbs the same stairs, roughly. It passes near the greedy solution of rank two, less near that of rank one;
# Burer–Monteiro from a tiny start follows the greedy path best.
#
# **Is the constraint not redundant?** Since $U\to cU$, $D\to D/c^2$ leaves $X$ as it is, $\|U\|_F\le\alpha$ constrains
# no $X$ and regularises nothing (part 1). Yet the radius decides the outcome: see the rows for radius 0.8 to 3
# above, all from the same start. Gradient descent is not blind to the rescaling: it is a change of the speeds of $U$
# and $D$, by $\alpha^6$ (part 3). The reviewers are right that the *problem* does not change, and the paper is right
# that the *algorithm* does.
#
# **More columns, higher ranks?** First the columns: $r = 3$ to $d$, for a truth of rank three.

# %%
widths = np.array([3, 5, 10, 20])
Z = np.stack([np.random.default_rng(s).standard_normal((d, d)) for s in seeds])
padded = np.stack([Z * (np.arange(d) < r) for r in widths])
padded *= 0.1 / np.linalg.norm(padded, axis=(-2, -1), keepdims=True)
wide = descend(problem, ul.UDU(d), step_size=0.05, iterations=settings["runs"],
               start={"U": padded, "D": np.ones(d)})
found, error = (
    ul.numerical_rank(wide.singular_values, rtol=1e-8),
    truth.relative_error(wide.product()),
)
checks["three columns or twenty: rank three"] = bool((found == rank).all())
rows = [[r, median_range(found[k], "{:.0f}"), median_range(error[k], "{:.1e}")]
        for k, r in enumerate(widths)]
table(["columns r", "rank at 1e-8", "relative error"], rows)

# %% [markdown]
# Then the rank of the truth, from 3 to 20, at $d = 30$. A fixed $\alpha = 1$ would make $K$ grow as the cube of the
# rank and strangle the run. So we choose the radius by the formula of part 3, $\alpha =
# \big(\|X_\natural\|_{S_{2/3}}^2/K\big)^{1/6}$ with $K = 80$. This is the radius rule of notebook 02 in other words:
# there $K = \kappa^2$ for a start at zero, and $\kappa = 8.5$ is $K = 72$. The two differ in how the columns are taken
# to share the ball, in proportion to $\sigma_j^{2/3}$ here and to $\sigma_j$ there; of equal singular values they are
# the same.

# %%
rows, right = [], []
for k, count in ((3, 500), (8, 700), (20, 880)):
    spectrum = np.linspace(1.5, 1.0, k)
    higher, higher_truth = ul.planted_completion(d=30, rank=k, observed=count,
                                                 spectrum=spectrum, seed=seeds)
    total = np.sum(spectrum ** (2 / 3)) ** 3
    alpha = (total / 80) ** (1 / 6)
    # inverse to the curvature, λσ
    step_size = 0.3 * alpha**2 / (spectrum[0] * np.sqrt(total / k))
    run = descend(higher, ul.UDU(30, radius=alpha), step_size=step_size,
                  iterations=settings["runs"], d_init=alpha,
                  init_scale=alpha, seed=seeds, record=("shrink",),
                  record_at=[settings["runs"] - 1])
    found = ul.numerical_rank(run.singular_values, rtol=1e-8)
    right.append(found == k)
    rows.append([k, f"{alpha:.2f}", median_range(run.log_shrink[:, -1], "{:.0f}"),
                 median_range(found, "{:.0f}"),
                 median_range(higher_truth.relative_error(run), "{:.1e}")])
checks["with the radius for K = 80, truths of rank 3 to 20 end at their rank"] = bool(
    np.all(right)
)
table(["rank of the truth", "α", "K", "rank found at 1e-8", "relative error"], rows)

# %% [markdown]
# Each is found at its rank, up to twenty, with every seed. What is slow is the last digits: the larger $K$, the longer
# the descent.
#
# ## Verdicts
#
# Every statement of the paper that this notebook measures, and three of ours. Where the paper gives words and no
# number, `claims/` says what we took for a yes.

# %% tags=["nbval-check-output"]
ledger.table()

# %% [markdown]
# And what the prose above rests on, apart from the ledger:

# %% tags=["nbval-check-output"]
table(["check", "holds"],
      [[name, "yes" if holds else "**no**"] for name, holds in checks.items()])

# %% [markdown]
# **Summary.** Lemma 1 and Proposition 1 hold, and they do not explain the bias: UDU can stop at the same $X$ as
# Burer–Monteiro. They also exclude less than their title says: dead columns are bad stops, and they attract, though not
# from $D_0 = I$. What explains the bias is the motion. Columns compete by a replicator equation, with or without the
# ball; the ball shrinks all of them by $e^{-K}$ while $D$ grows, with $K\approx\|X\|_{S_{2/3}}^2/\alpha^6$. A large $K$
# makes true zeros, too large a $K$ makes them too early, a small one leaves Burer–Monteiro's tail. It is the ball that
# does it, not the third factor.
#
# ## Exercises
#
# **1.** The paper's text describes truths with standard normal factors, $100\times 3$, and $\alpha = 1$; its code one
# with singular values 3, 2, 1. Predict $K$ for both. What will UDU do on the first?
#
# <details><summary>Solution</summary>
#
# ```python
# for spectrum in ((3, 2, 1), np.linalg.svd(np.random.default_rng(0).standard_normal((100, 3)), compute_uv=False) ** 2):
#     print(np.sum(np.asarray(spectrum) ** (2 / 3)) ** 3)
# ```
#
# About 100 for the code's: true zeros. About $2.9\cdot10^5$ for this draw of the text's: all columns but the first
# underflow long before the second eigenvector is found, and UDU stalls at rank one. That is what happens; notebook 01
# shows it, and cures it with the scaling law.
#
# </details>
#
# **2.** Show that the drift of $\|u_j\|^2 - 2\lambda_j^2$ over finite steps inside the ball is exactly
# $\eta^2\sum_t(4\lambda_j^2\|Gu_j\|^2 - 2q_j^2)$, if nothing is clipped. Why does that make it of order $\eta$ over a
# given time?
#
# <details><summary>Solution</summary>
#
# $\|u_j - 2\eta\lambda_j Gu_j\|^2 = \|u_j\|^2 - 4\eta\lambda_j q_j + 4\eta^2\lambda_j^2\|Gu_j\|^2$ and $2(\lambda_j -
# \eta q_j)^2 = 2\lambda_j^2 - 4\eta\lambda_j q_j + 2\eta^2q_j^2$. Subtract. There are $t/\eta$ steps in a time $t$, so
# $\eta^2$ times their number is of order $\eta$.
#
# </details>
#
# **3.** The data of the scale $s = 0.4$ above end with a visible tail at $\alpha = 1$. Choose a radius that gives them
# true zeros, without looking at the truth's rank beforehand.
#
# <details><summary>Solution</summary>
#
# ```python
# alpha = (0.4**2 * np.sum(np.array(sharp) ** (2 / 3)) ** 3 / 80) ** (1 / 6)  # K = 80
# small, small_truth = planted(0.4 * np.array(sharp))
# run = ul.descend(small, ul.UDU(d, radius=alpha), step_size=0.05 * 0.4 ** (-4 / 3), iterations=4_000,
#                  init_scale=alpha, d_init=alpha, seed=seeds)
# print(ul.numerical_rank(run.singular_values, rtol=1e-8), small_truth.relative_error(run))
# ```
#
# This uses the truth's spectrum. Without it, scan: lower $\alpha$ until the spectrum shows a gap, and check that the
# misfit still vanishes. Notebook 02 turns that into a rule.
#
# </details>
#
# **4.** Is $X = 0$ a fixed point of UDU? Is it one of the bad stops that attract?
#
# <details><summary>Solution</summary>
#
# Yes: with $U = 0$, or with $D = 0$ and all slopes $q_j \ge 0$. At $X = 0$ the gradient is $-\mathcal A^*(b)$, which
# has a negative eigenvalue unless there is nothing to fit. So live columns near zero grow. Dead columns that all see
# rising directions stay, and with few columns that happens; with $D_0 = I$ it cannot.
#
# </details>
#
# **Next:** notebook 05 asks the same of networks, where $U$ and $V$ are layers; notebook 08 treats depth without a
# ball.
