# %% [markdown]
# # Deep matrix factorization
#
# Why does gradient descent on a product of matrices prefer low rank? Chou, Gieshoff, Maly and Rauhut (2024) study the
# case in which everything can be computed: the matrix itself is given, $N$ square factors are fitted to it, and all of
# them start at the same small multiple of the identity. (That start is our recollection; the abstracts do not give it.)
# Their abstract states:
#
# - an eigenvector of the target is recovered at a rate proportional to its eigenvalue, and depth amplifies the
#   differences;
# - on intervals of time that are known exactly, the effective rank is close to that of a low-rank projection of the
#   truth;
# - apart from the first few iterations the effective rank increases monotonically;
# - so early stopping regularises, for instance when noise is to be removed;
# - matrix sensing, and random starts, show something similar.
#
# We had the abstracts of two versions, not the body: the paper's constants and the parameters of its experiments were
# not found. All formulas below are derived by us, with proofs on the page
# [Deep matrix factorization: the theory](../book/deep_theory.md); all experiments are ours.
#
# **What you need:** eigenvalues and gradient descent. **What you can do at the end:** predict when gradient descent on
# a given matrix will have found which eigenvalue, and say where that picture ends.

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
device = "auto"  # has no effect here: all runs are small, float64, on the CPU
first_seed = 0  # problems, starts, splits and noise take the seeds from here on

# %%
import matplotlib.pyplot as plt
import numpy as np

import udulib as ul
from companion import Ledger, figures

figures.use_style()
ledger = Ledger(size=size, notebook="08_deep_factorization")

# The paper's own settings were not found; these are ours.
# of the noise, and of random starts
seeds = first_seed + np.arange({"ci": 5, "book": 10, "paper": 20}[size])
n = 50  # side of the target
# non-zero eigenvalues of the clean matrix; its effective ranks are 1, 1.6, 1.8
truth = np.array([5.0, 3.0, 1.0])
# operator norm of the noise: plateaus are studied with the first, denoising with the
# second
calm, loud = 0.05, 0.2
depths = (2, 3, 4)  # N
# the product starts at 1e-4 times the identity at every depth, so that depths can be
# compared
start = 1e-4
# the same for all depths; the bound for N = 4 and the eigenvalue 5.2 is 0.0211
step_size = 0.02
# until most of the noise has been fitted, at each depth
steps = {2: 5_000, 3: 30_000, 4: 75_000}
# side where all factors are iterated as matrices
full_n = {"ci": 12, "book": 30, "paper": 50}[size]
scale = {N: start ** (1 / N) for N in depths}  # alpha: each factor starts at alpha I


def noisy(seed, noise, side=n):
    """Clean matrix X; eigenvalues (descending) and eigenvectors of X + Z, with Z
    symmetric Gaussian, ||Z|| = noise."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((side, len(truth))))[0]  # (n, 3)
    Z = rng.standard_normal((side, side))
    Z = Z + Z.T
    X = Q * truth @ Q.T
    targets, vectors = np.linalg.eigh(X + noise * Z / np.linalg.norm(Z, 2))
    return X, targets[::-1], vectors[:, ::-1]


def nuclear(values):
    """Nuclear effective rank of matrices with these eigenvalues: the sum of their sizes
    over the largest."""
    return ul.effective_rank(-np.sort(-np.abs(values)), kind="nuclear")


def entropy(values):
    """Entropy effective rank of matrices with these eigenvalues."""
    return ul.effective_rank(-np.sort(-np.abs(values)), kind="entropy")


def log_grid(last, count=600):
    """About `count` whole numbers from 1 to `last`, evenly spaced on a logarithmic
    axis."""
    return np.unique(np.geomspace(1, last, count).round().astype(int))


# %% [markdown]
# ## The eigenvalues decouple
#
# From identical factors, all factors stay equal and keep the eigenvectors of the target. Each eigenvalue $d$ of a
# factor obeys $d \leftarrow d - \eta\, d^{N-1}(d^N - \lambda)$, where $\lambda$ is the target's eigenvalue, and the
# product has the eigenvalue $d^N$. So a run on $N$ matrices can be replaced by a recursion on $n$ numbers.
#
# **Before you read on:** both are exact. How far apart will they be after a thousand steps in double precision?
# And which eigenvalues are the first to feel round-off?

# %%
def matrices(cases):
    """The noisy matrices themselves, symmetric to the last bit: (seeds, n, n)."""
    M = np.stack([vectors * targets @ vectors.T for _, targets, vectors in cases])
    return (M + M.swapaxes(1, 2)) / 2


cases = [noisy(seed, loud, side=full_n) for seed in seeds]
targets = np.stack([t for _, t, _ in cases])  # (seeds, n)
vectors = np.stack([v for _, _, v in cases])  # (seeds, n, n)
apart, shown = [], None
for N, last in {2: 500, 3: 1500, 4: 3000}.items():
    full = ul.deep.descend(matrices(cases), N, scale[N], step_size, last)
    twin = ul.deep.eigenvalues(targets.ravel(), N, scale[N], step_size, last,
                               record_at=full.iteration)
    values = twin.values.reshape(-1, *targets.shape).swapaxes(0, 1)  # (seeds, T, n)
    rebuilt = np.einsum("sai,sti,sbi->stab", vectors, values, vectors)
    apart.append(np.abs(full.products - rebuilt).max(axis=(1, 2, 3)) / targets[:, 0])
    if N == 3:
        shown = full.iteration, values[0], full.along(vectors)[0]
ledger.record("b-decoupling", np.max(apart, axis=0), seeds=seeds)

# %%
iteration, recursion, dots = shown
fig, ax = plt.subplots()
for i, label in enumerate(["5", "3", "1"]):
    (line,) = ax.plot(iteration, recursion[:, i], label=f"eigenvalue near {label}, recursion")
    ax.plot(iteration[::4], dots[::4, i], "o", ms=4, color=line.get_color())
ax.plot(iteration, recursion[:, 3:], color="0.6", lw=0.8)
ax.set(xscale="log", xlim=(10, iteration[-1]), xlabel="updates", ylabel="eigenvalue of the product")
ax.legend(loc="upper left")
figures.show(
    fig,
    alt="Eigenvalues of the product against the number of updates: three S-shaped curves rise one after the "
    "other to 5, 3 and 1, with dots of the full run exactly on the lines; the others stay near zero.",
    caption="Depth 3, one noise seed. Lines: the scalar recursion. Dots: the run on three matrices. Grey: all "
    "other eigenvalues.",
    name="fig-deep-decoupling",
)

# %% [markdown]
# The eigenvectors play no part any more, except in the error to the clean matrix. All that follows uses the recursion,
# until starts become random.
#
# ### A trap: what round-off learns
#
# The theorem says that a negative eigenvalue is never learned. Run the matrices for longer, though, and they do learn
# it. Two factors that differ by $e$ along the eigenvector of $\lambda < 0$ drift apart by the factor
# $1 + \eta|\lambda|$ a step, and round-off makes them differ. (How soon depends on the machine: where the products of
# both factors happen to be rounded alike, the second stays the exact transpose of the first, and nothing happens at
# all. We add one unit of round-off to one entry of the target, so that this cannot be.)
#
# **Predict: with $\lambda = -1$, $\eta = 0.02$ and a first difference of about $10^{-18}$, after how many steps is it
# over?**

# %%
trap_targets, last = np.linspace(1, -1, 20), 4000
basis = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0]
matrix = basis * trap_targets @ basis.T
matrix[0, 1] = np.nextafter(matrix[1, 0], 2)
full = ul.deep.descend(matrix, 2, scale[2], step_size, last,
                       record_at=np.arange(0, last, 20))
twin = ul.deep.eigenvalues(trap_targets, 2, scale[2], step_size, last,
                           record_at=full.iteration)
print(f"theory: about {np.log(2 / 1e-18) / np.log1p(step_size):.0f} steps")
print(f"full run: past -1/2 after "
      f"{full.iteration[np.argmax(full.along(basis)[:, -1] < -0.5)]} steps")

# %%
fig, ax = plt.subplots()
ax.plot(full.iteration, full.along(basis)[:, -1], label="run on two matrices")
ax.plot(twin.iteration, twin.values[:, -1], "--", label="recursion: what the theorem is about")
ax.axhline(-1, color="0.5", lw=1)
ax.set(xlabel="updates", ylabel="value along the eigenvector of −1", ylim=(-1.1, 0.3))
ax.legend(loc="upper right")
figures.show(
    fig,
    alt="The value along the eigenvector with eigenvalue minus one: the recursion stays at zero, the run on "
    "matrices leaves zero after two thousand steps and drops to minus one.",
    caption="Identical factors are an unstable state. Round-off alone makes a run on matrices learn the negative "
    "eigenvalue; the recursion never does.",
    name="fig-deep-trap",
)

# %% [markdown]
# ## How large a step, and how long to wait
#
# Each eigenvalue has a sharp step bound $\eta_*(\lambda)$, `ul.deep.step_bound`: up to it the recursion runs
# monotonically to its limit $\max(\lambda, 0)$; beyond it some step passes the limit. For eigenvalues that grow it is
# $1/(N\lambda^{2-2/N})$, and the limit becomes unstable at twice that.

# %%
def outcome(target, N, alpha, eta):
    """What the recursion does at this step size."""
    limit = max(target, 0) ** (1 / N)
    d = ul.deep.eigenvalues(target, N, alpha, eta, 500).factor_values[:, 0]
    if (d.max() - limit if limit > alpha else limit - d.min()) < 1e-7:
        return "monotone"
    return "passes, settles" if abs(d[-1] - d[-2]) < 1e-6 else "passes, swings"


print(" N  lambda  alpha   bound     at the bound      1 % beyond        1.95 times    "
      "    2.05 times")
for N in depths:
    for target, alpha in [(2.0, 0.3), (0.5, 1.2)]:
        bound = ul.deep.step_bound(target, N, alpha)
        words = [outcome(target, N, alpha, factor * bound)
                 for factor in (1 - 1e-9, 1.01, 1.95, 2.05)]
        print(f"{N:2} {target:6.1f} {alpha:6.1f} {bound:8.4f}     "
              + "".join(f"{word:<18}" for word in words).rstrip())

# %% [markdown]
# The time an eigenvalue takes has a closed form for $N = 2, 3, 4$ (and a one-dimensional integral beyond): the time of
# the gradient flow over $\eta$, plus half the logarithm of a quotient of speeds for the discrete steps.
# `ul.deep.recovery_steps` evaluates it. Below it is compared with counted steps.

# %%
worst = 0.0
print(" N  lambda  level   eta       predicted   counted    off by")
for N in (*depths, 5):
    alpha = start ** (1 / N)
    for target, level, boldness in [(0.5, 0.5, 0.05), (1.0, 0.95, 0.05),
                                    (4.0, 0.5, 0.1), (4.0, 0.95, 0.1)]:
        eta = boldness * ul.deep.step_bound(target, N, alpha)
        predicted = ul.deep.recovery_steps(target, level * target, N, alpha, eta)
        run = ul.deep.eigenvalues(target, N, alpha, eta, int(1.05 * predicted) + 5)
        counted = int((run.values[:, 0] < level * target).sum())
        worst = max(worst, abs(counted - predicted) / counted)
        off = counted / predicted - 1
        print(f"{N:2} {target:6.1f} {level:7.0%} {eta:8.5f} {predicted:12.1f} "
              f"{counted:9} {off:10.2%}")
print(f"largest deviation: {worst:.2%}, part of it because a count is a whole number")

# %% [markdown]
# ### Is the rate proportional to the eigenvalue?
#
# "Rate" is one over the time to reach half the eigenvalue. Proportional means that time falls as $\lambda^{-1}$.
#
# **Before you read on:** the waiting time is $\ln(\sqrt\lambda/\alpha)/\lambda$ for $N = 2$ and about
# $\alpha^{2-N}/((N-2)\lambda)$ beyond. For which depth will the exponent be farthest from −1?

# %%
# eigenvalues from the smallest to the largest of the truth
spread = np.geomspace(truth[-1], truth[0], 7)
halves = {}
for N in depths:
    longest = int(1.1 * ul.deep.recovery_steps(spread[0], spread[0] / 2, N, scale[N],
                                               step_size))
    run = ul.deep.eigenvalues(spread, N, scale[N], step_size, longest)
    halves[N] = (run.values < spread / 2).sum(axis=0)
exponents = np.array([np.polyfit(np.log(spread), np.log(halves[N]), 1)[0]
                      for N in depths])
ledger.record("b-recovery-rate", exponents)

# %%
fig, ax = plt.subplots()
for N in depths:
    line = np.geomspace(truth[-1], truth[0], 100)
    predicted = ul.deep.recovery_steps(line, line / 2, N, scale[N], step_size)
    (curve,) = ax.plot(line, predicted, label=f"depth {N}: closed form")
    ax.plot(spread, halves[N], "o", color=curve.get_color())
    ax.plot(line, predicted[0] / line, ":", color=curve.get_color(), lw=1)
ax.set(xscale="log", yscale="log", xlabel="eigenvalue λ", ylabel="steps to λ/2")
ax.set_xticks([1, 2, 3, 5], ["1", "2", "3", "5"])
ax.minorticks_off()
ax.legend()
figures.show(
    fig,
    alt="Time to half recovery against the eigenvalue on logarithmic axes: three falling straight lines with "
    "dots on them, higher for greater depth; the one of depth two is slightly flatter than proportional.",
    caption="Time to recover half an eigenvalue. Dots: counted steps. Lines: closed form. Dotted: exactly "
    "proportional to 1/λ.",
    name="fig-deep-rates",
)

# %% [markdown]
# Depths 3 and 4 are close to proportional. At depth 2 the logarithm of $\lambda$ is left over. It vanishes as the start
# shrinks, but only as one over the logarithm of the start: the claim is an asymptotic one there.

# %%
for tiny in (1e-4, 1e-8, 1e-16, 1e-32):
    times = ul.deep.recovery_steps(spread, spread / 2, 2, tiny**0.5, 1e-3)
    print(f"depth 2, start {tiny:.0e}: exponent "
          f"{np.polyfit(np.log(spread), np.log(times), 1)[0]:.3f}")

# %% [markdown]
# ### What depth amplifies
#
# Two things grow with depth. The ratio of two recovery times (for the eigenvalues 5 and 1, at most 5) comes closer to
# the ratio of the eigenvalues. And the rise itself, from 10 % to 90 %, becomes short against the wait before it: the
# relative width falls as a logarithm of the start for $N = 2$, and as the power $1 - 2/N$ of the start beyond. So the
# steps of a staircase separate.

# %%
ratio = np.array([halves[N][0] / halves[N][-1] for N in depths])
for N, value in zip(depths, ratio, strict=True):
    begin, end = ul.deep.recovery_steps(3.0, [0.3, 2.7], N, scale[N], 1e-3)
    rise = 1 - begin / end
    print(f"depth {N}: 1 takes {value:.2f} times as long as 5; 3 is rising during the "
          f"last {rise:.0%} of its time")
ledger.record("b-depth-amplifies", [bool((np.diff(ratio) > 0).all())])

# %% [markdown]
# ## The staircase of the effective rank
#
# The effective rank is $r(W) = \|W\|_* / \|W\|$, sum over largest. At the start all eigenvalues are equal and $r = n$.
# Then the largest takes over, $r \approx 1$; then the second arrives, $r \approx 1 + \lambda_2/\lambda_1$; and so on.
# `ul.deep.plateau` gives an interval of time and a bound, both certain: inside the interval the effective rank differs
# from the level by no more than the bound.
#
# **Before you read on:** the target has eigenvalues 5, 3, 1 and noise up to 0.05. At which depth will the
# interval of the first level, 1, be empty?

# %%
# learned eigenvalues are within 0.02 of their target, the others below 0.005
error, leak = 0.02, 5e-3
everyone = [noisy(seed, calm) for seed in seeds]
targets = np.stack([t for _, t, _ in everyone])  # (seeds, n)
rank, smallest, promises = {}, {}, {}
for N in depths:
    promises[N] = [
        [ul.deep.plateau(t, upto, N, scale[N], step_size, error, leak)
         for upto in (1, 2, 3)] for t in targets
    ]
    ends = [end for row in promises[N] for step in row
            for end in (step.start, step.stop) if end <= steps[N]]
    grid = np.union1d(log_grid(steps[N]), ends).astype(int)
    run = ul.deep.eigenvalues(targets.ravel(), N, scale[N], step_size, steps[N],
                              record_at=grid)
    values = run.values.reshape(len(run.iteration), *targets.shape)  # (T, seeds, n)
    rank[N] = run.iteration, nuclear(values), entropy(values)
    smallest[N] = values.min(axis=(0, 2))  # (seeds,)

holds = np.ones(len(seeds), dtype=bool)
print(" N  level   interval (seed 0)    bound   largest distance, all seeds")
for N in depths:
    iteration, r, _ = rank[N]
    for upto in range(3):
        distance = 0.0
        for i in range(len(seeds)):
            step = promises[N][i][upto]
            inside = (iteration >= step.start) & (iteration <= step.stop)
            if inside.any():
                off = np.abs(r[inside, i] - step.level).max()
                distance, holds[i] = max(distance, off), holds[i] and off <= step.bound
        step = promises[N][0][upto]
        interval = "empty" if step.empty else f"{step.start} to {step.stop}"
        found = "" if step.empty else f"{distance:.3f}"
        print(
            f"{N:2} {step.level:6.2f}   {interval:<20} {step.bound:6.3f}   "
            f"{found}".rstrip()
        )

# %%
fig, axes = plt.subplots(3, 1, figsize=(6.4, 8.4), sharey=True)
for ax, N in zip(axes, depths, strict=True):
    iteration, r, _ = rank[N]
    ax.plot(iteration, r[:, 0], color="C0")
    for step in promises[N][0]:
        ax.axhline(step.level, color="0.75", lw=0.8, zorder=0)
        if not step.empty:
            box = (step.start, step.level - step.bound), step.stop - step.start, 2 * step.bound
            ax.add_patch(plt.Rectangle(*box, color="C1", alpha=0.45, lw=0))
    ax.set(xscale="log", xlim=(30, steps[N]), ylim=(0.8, 2.6), ylabel="effective rank", title=f"depth {N}")
axes[-1].set_xlabel("updates")
figures.show(
    fig,
    alt="Three panels, one for each depth: the effective rank falls to one, then climbs in steps to 1.6 and "
    "1.8 and slowly beyond. Orange boxes mark the certified intervals; the curve runs inside each of "
    "them. At depth two only the last box exists, at depths three and four all three.",
    caption="Effective rank over time, one noise seed. Each orange box is a promise of the theorem: its width is "
    "the certified interval, its height twice the bound. Grey lines: the effective ranks of the best "
    "approximations of rank 1, 2 and 3.",
    name="fig-deep-staircase",
)

# %%
ledger.record("b-plateau", holds, seeds=seeds)

# %% [markdown]
# The promise is kept at every recorded step. It is also cautious: the bound adds up what all 47 small eigenvalues could
# do at worst, and they do far less.
#
# ### Does the effective rank only rise?
#
# **Predict: after its first fall, will it ever decrease again? And how long is "the first few iterations"?**

# %%
drops = np.zeros((2, len(depths), len(seeds)))
first = np.zeros((len(depths), len(seeds)))
for j, N in enumerate(depths):
    iteration, *both = rank[N]
    for kind, r in enumerate(both):
        for i in range(len(seeds)):
            low = np.argmin(r[:, i])
            drops[kind, j, i] = (1 - r[low:, i]
                                 / np.maximum.accumulate(r[low:, i])).max()
            if kind == 0:
                # the smallest eigenvalue that belongs to the signal
                third = targets[i, 2]
                first[j, i] = (
                    iteration[low]
                    / ul.deep.recovery_steps(third, third / 2, N, scale[N], step_size)
                )
print(f"largest relative drop after the minimum: nuclear {drops[0].max():.1e}, entropy "
      f"{drops[1].max():.1e}")
ledger.record("b-monotone", drops[0].max(axis=0) <= 1e-9, seeds=seeds)

# %%
ledger.record("b-monotone-first", first.max(axis=0), seeds=seeds)

# %% [markdown]
# The rise is monotone, with both definitions of effective rank. The fall before it is not short: it lasts until the
# first eigenvector stands out, a sizeable part of the time that the last one of the signal needs. "A few iterations" it
# is only against the length of the whole run.

# %% [markdown]
# ## Early stopping removes noise
#
# After $k$ steps the product is $\sum_i \phi_k(\lambda_i)\, q_i q_i^\top$ with one function $\phi_k$, the recursion
# itself. So stopping early is a spectral filter: eigenvalues above some threshold pass, those below do not. How sharp
# is it?

# %%
fig, ax = plt.subplots()
line = np.geomspace(0.1, 10, 201)
for N in depths:
    k = round(float(ul.deep.recovery_steps(1.0, 0.5, N, scale[N], 5e-3)))  # 5e-3: below the bound of eigenvalue 10
    filtered = ul.deep.eigenvalues(line, N, scale[N], 5e-3, k, record_at=[k]).values[-1]
    ax.plot(line, filtered / line, label=f"depth {N}")
ax.plot(line, np.maximum(line - 0.5, 0) / line, "k:", label="soft threshold")
ax.set(xscale="log", xlabel="eigenvalue λ of the noisy matrix", ylabel="share that is let through")
ax.legend(fontsize=9, loc="upper left")
figures.show(
    fig,
    alt="Share of an eigenvalue that passes, against the eigenvalue: an S-shaped curve from zero to one "
    "around eigenvalue one, steeper with greater depth; the soft threshold rises much more slowly and "
    "never reaches one.",
    caption="Gradient descent, stopped when the eigenvalue 1 is learned by half, is a spectral filter. It becomes "
    "a hard threshold as depth grows; a nuclear-norm penalty is the soft one, which also shrinks what it "
    "lets through.",
    name="fig-deep-filter",
)

# %% [markdown]
# Now the noise has norm 0.2 and we follow the error to the clean matrix. A user does not see this error; but the
# effective rank is seen. **Rule:** run until the effective rank has risen well past its steps, find the stretch on
# which it stood still longest (on a logarithmic axis, within 0.05), and take the iterate in the middle of it.
# `ul.deep.longest_plateau` does this; it knows neither the truth, nor the noise, nor the rank.
#
# **Before you read on:** for which depth does it matter least when exactly one stops?


# %%
def errors(values, X, vectors):
    """||V diag(E) V' - X|| / ||X|| for each row E of values (T, n)."""
    overlap = np.einsum("ai,ab,bi->i", vectors, X, vectors)  # (n,)
    square = (values**2).sum(-1) - 2 * values @ overlap + np.sum(X**2)
    return np.sqrt(np.maximum(square, 0) / np.sum(X**2))


def denoise(noise, N):
    """Iterations; for each seed the error over time, the index of the stop, the error
    of the best rank-3 truncation."""
    cases = [noisy(seed, noise) for seed in seeds]
    spectra = np.stack([t for _, t, _ in cases])
    run = ul.deep.eigenvalues(spectra.ravel(), N, scale[N], step_size, steps[N],
                              record_at=log_grid(steps[N]))
    values = run.values.reshape(len(run.iteration), *spectra.shape)
    curves, stops, truncated = [], [], []
    for i, (X, t, vectors) in enumerate(cases):
        curves.append(errors(values[:, i], X, vectors))
        begin, end = ul.deep.longest_plateau(run.iteration, nuclear(values[:, i]),
                                             width=0.05)
        stops.append(np.argmin(np.abs(np.log(run.iteration / np.sqrt(begin * end)))))
        kept = np.where(np.arange(n) < len(truth), t, 0.0)
        truncated.append(errors(kept[None], X, vectors)[0])
    return run.iteration, np.array(curves), np.array(stops), np.array(truncated)


denoised = {N: denoise(loud, N) for N in depths}
# (depths, seeds)
best = np.array([curves.min(axis=1) for _, curves, _, _ in denoised.values()])
final = np.array([curves[:, -1] for _, curves, _, _ in denoised.values()])
ruled = np.array([curves[range(len(seeds)), stops]
                  for _, curves, stops, _ in denoised.values()])
ledger.record("b-early-stopping", (best / final).max(axis=0), seeds=seeds)

# %%
fig, ax = plt.subplots(figsize=(6.4, 4.6))
for j, N in enumerate(depths):
    iteration, curves, stops, truncated = denoised[N]
    ax.fill_between(iteration, curves.min(axis=0), curves.max(axis=0), color=f"C{j}", alpha=0.3, lw=0)
    ax.plot(iteration, np.median(curves, axis=0), color=f"C{j}", label=f"depth {N}")
    ax.plot(iteration[stops], ruled[j], "v", color=f"C{j}", ms=7)
ax.axhline(np.median(truncated), color="k", ls=":", lw=1.2, label="truncation to the true rank")
ax.set(xscale="log", yscale="log", xlim=(50, None), xlabel="updates", ylabel="relative error to the clean matrix")
ax.legend()
figures.show(
    fig,
    alt="Error to the clean matrix against updates for depths two, three and four: each curve falls in steps "
    "to the level of the truncation to the true rank, stays there, wider for greater depth, and rises "
    "again to twice that. Triangles where the stopping rule stops lie on the floor of each curve.",
    caption="Denoising. Lines: median over noise seeds, bands: all seeds. Triangles: where the rule stops, which "
    "knows neither truth nor noise nor rank.",
    name="fig-deep-denoising",
)

# %%
for j, N in enumerate(depths):
    iteration, curves, stops, truncated = denoised[N]
    window = [(iteration[c <= 1.05 * c.min()][-1] / iteration[c <= 1.05 * c.min()][0])
              for c in curves]
    print(
        f"depth {N}: best over truncation {np.median(best[j] / truncated):.2f}, rule "
        f"over best up to "
        f"{(ruled[j] / best[j]).max():.2f}, end over best "
        f"{np.median(final[j] / best[j]):.2f}; "
        f"within 5 % of the best while the steps grow by a factor "
        f"{np.median(window):.1f}"
    )
ledger.record("b-early-stopping-rule", (ruled / best).max(axis=0), seeds=seeds)

# %% [markdown]
# Stopped in time, gradient descent is as good as truncating to the true rank, which nobody told it. Deeper
# factorizations leave a wider window for stopping, at the price of more steps.
#
# How much noise does the rule bear? The smallest eigenvalue of the signal is 1.

# %%
levels = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
sweep = [denoise(level, 3) for level in levels]
lines = {
    "end of the run": np.array([curves[:, -1] for _, curves, _, _ in sweep]),
    "the rule's stop": np.array([curves[range(len(seeds)), stops] for _, curves, stops, _ in sweep]),
    "truncation to the true rank": np.array([truncated for *_, truncated in sweep]),
    "best in hindsight": np.array([curves.min(axis=1) for _, curves, _, _ in sweep]),
}
fig, ax = plt.subplots()
for (label, table), mark in zip(lines.items(), "osD^", strict=True):
    median = np.median(table, axis=1)
    bars = np.stack([median - table.min(axis=1), table.max(axis=1) - median])
    ax.errorbar(levels, median, bars, marker=mark, capsize=3, label=label)
ax.set(xscale="log", yscale="log", xlabel="norm of the noise", ylabel="relative error to the clean matrix")
ax.set_xticks(levels, [f"{level:g}" for level in levels])
ax.minorticks_off()
ax.legend()
figures.show(
    fig,
    alt="Error against the norm of the noise: truncation and best in hindsight rise together, the end of the "
    "run lies above them throughout; the rule is on the lower lines for noise 0.1, 0.2 and 1.6, and well "
    "above them for 0.4 and 0.8.",
    caption="Depth 3: median and range over noise seeds. The rule finds the widest step of the staircase, "
    "wherever it is.",
    name="fig-deep-noise",
)

# %% [markdown]
# The rule finds the widest relative gap in the spectrum. With little noise that is the gap between the eigenvalue 1 and
# the noise. At 0.4 the gap from 3 to 1 is the wider one, and the rule stops a step too early, at rank two. At 1.6 the
# eigenvalue 1 is lost in the noise anyway, and stopping early is right. So the plateau is a rule for noise that is
# small against the gaps of the signal; a rule that sees only gaps cannot know which of them is meant.
#
# ## Negative eigenvalues: identical and perturbed starts
#
# From identical factors the product stays positive semidefinite, whatever the target. If one factor starts a little
# smaller, its eigenvalue can pass through zero, and every sign is recovered.
#
# **Predict: how does the picture change for a target eigenvalue of −0.05?**

# %%
line, beta = np.linspace(-1, 1, 81), 0.5  # one factor starts at half of the others
fig, ax = plt.subplots()
for N, style in ((2, "-"), (3, "--")):
    alpha, last = scale[N], {2: 1_000, 3: 5_000}[N]
    same = ul.deep.eigenvalues(line, N, alpha, step_size, last, record_at=[last])
    shifted = ul.deep.eigenvalues(line, N, alpha, step_size, last, perturbation=beta * alpha, record_at=[last])
    ax.plot(line, same.values[-1], style, color="C0", label=f"identical, depth {N}, {last} steps")
    ax.plot(line, shifted.values[-1], style, color="C1", label=f"one factor halved, depth {N}, {last} steps")
ax.plot(line, line, color="0.7", lw=1, zorder=0)
ax.set(xlabel="eigenvalue of the target", ylabel="eigenvalue of the product")
ax.legend(fontsize=10)
figures.show(
    fig,
    alt="Learned eigenvalue against target eigenvalue: identical starts give zero for negative targets and "
    "the target itself for positive ones; with one factor halved the curve follows the diagonal on both "
    "sides except near zero.",
    caption="What has been learned after a fixed number of steps. The flat part around zero is not yet learned: "
    "small eigenvalues, of either sign, wait longest.",
    name="fig-deep-negative",
)

# %%
ledger.record("b-negative", np.min([smallest[N] for N in depths], axis=0), seeds=seeds)

# %%
negative = np.array([-1.0, -0.7, -0.4, -0.2])
gaps = []
for N in (2, 3):
    run = ul.deep.eigenvalues(negative, N, scale[N], step_size, steps[N],
                              perturbation=beta * scale[N])
    gaps.append(np.abs(run.values[-1] / negative - 1).max())
    print(f"depth {N}: steps to 99 %",
          (np.abs(run.values / negative - 1) > 0.01).sum(axis=0))
ledger.record("b-negative-perturbed", [max(gaps)])

# %% [markdown]
# ## Where the picture survives: random starts and matrix sensing
#
# Now nothing decouples, and no theorem above applies. First the same noisy target, but with independent Gaussian
# factors whose Frobenius norm is that of $\alpha I$ on average.
#
# **Predict: will the staircase still have its steps at 1, 1.6 and 1.8?**


# %%
def drop_after_minimum(r):
    """Largest relative fall of a series below an earlier value, from its minimum on."""
    low = np.argmin(r)
    return (1 - r[low:] / np.maximum.accumulate(r[low:])).max()


def longest_stay(iteration, r, level, width=0.05):
    """Last over first step of the longest stretch within `width` of a level; 1 if there
    is none."""
    near = np.flatnonzero(np.abs(r - level) <= width)
    stretches = np.split(near,
                         np.flatnonzero(np.diff(near) > 1) + 1) if near.size else []
    return max([iteration[s[-1]] / max(iteration[s[0]], 1) for s in stretches],
               default=1.0)


# until the signal has been learned, and before the noise is
full_steps = {2: 1_000, 3: 3_000, 4: 5_000}
cases = [noisy(seed, calm, side=full_n) for seed in seeds]
random_rank, drops, stays = {}, {}, {}
for N in depths:
    # the noise has default_rng(seed)
    rngs = [np.random.default_rng([1, seed]) for seed in seeds]
    run = ul.deep.descend(matrices(cases), N, scale[N], step_size, full_steps[N],
                          init="random", rng=rngs)
    random_rank[N] = run.iteration, nuclear(run.singular_values)  # (seeds, T)
    drops[N] = np.array([drop_after_minimum(r) for r in random_rank[N][1]])
    stays[N] = [[longest_stay(run.iteration, r, x)
                 for x in np.cumsum(truth) / truth[0]] for r in random_rank[N][1]]
for N in depths:
    held = ", ".join(f"{factor:.1f}" for factor in np.median(stays[N], axis=0))
    print(f"depth {N}: largest drop {drops[N].max():.2%}; 1, 1.6, 1.8 are held while "
          f"steps grow by a factor {held}")
ledger.record("b-random-init", np.max([drops[N] for N in depths], axis=0) <= 0.01,
              seeds=seeds)

# %%
fig, axes = plt.subplots(3, 1, figsize=(6.4, 8.4), sharey=True)
for ax, N in zip(axes, depths, strict=True):
    for level in np.cumsum(truth) / truth[0]:
        ax.axhline(level, color="0.75", lw=0.8, zorder=0)
    iteration, r = random_rank[N]
    for i in range(5):
        ax.plot(iteration, r[i], color="C1", lw=1, label="random" if i == 0 else None)
    grid = log_grid(full_steps[N])
    twin = ul.deep.eigenvalues(cases[0][1], N, scale[N], step_size, full_steps[N], record_at=grid)
    ax.plot(twin.iteration, nuclear(twin.values), "--", color="C0", label="identical")
    ax.set(xscale="log", xlim=(10, full_steps[N]), ylim=(0.8, 2.6), ylabel="effective rank", title=f"depth {N}")
axes[0].legend()
axes[-1].set_xlabel("updates")
figures.show(
    fig,
    alt="Three panels, one for each depth: effective rank over time from five random starts and from "
    "identical factors. All fall to one and climb through 1.6 to 1.8; random starts take the steps at "
    "somewhat different times.",
    caption="Random starts (five seeds) take the same stairs as identical ones. What varies is when.",
    name="fig-deep-random",
)

# %% [markdown]
# Then matrix sensing: a matrix with eigenvalues 3 and 1 is seen only through inner products with random symmetric
# matrices, fewer than a symmetric matrix of its size has entries of its own.

# %%
d = {"ci": 16, "book": 20, "paper": 30}[size]
# three for each of the 2 d entries of a factor; a symmetric X has d (d + 1) / 2
measurements = 6 * d
sensing_steps = {2: 700, 3: 2_000, 4: 4_000}
# a stack
together, _ = ul.planted_sensing(d=d, rank=2, measurements=measurements,
                                 spectrum=(3.0, 1.0), seed=seeds)
sensing_rank, drops = {}, {}
for N in depths:
    run = ul.deep.descend(together, N, scale[N], step_size, sensing_steps[N])
    sensing_rank[N] = run.iteration, nuclear(run.singular_values)  # (seeds, T)
    drops[N] = np.array([drop_after_minimum(r) for r in sensing_rank[N][1]])
    stays = [[longest_stay(run.iteration, r, level) for level in (1, 4 / 3)]
             for r in sensing_rank[N][1]]
    held = ", ".join(f"{factor:.1f}" for factor in np.median(stays, axis=0))
    print(f"depth {N}: largest drop {drops[N].max():.2%}; 1, 1.33 are held while steps "
          f"grow by a factor {held}")
ledger.record("b-sensing", np.max([drops[N] for N in depths], axis=0) <= 0.01,
              seeds=seeds)

# %%
fig, ax = plt.subplots()
for j, N in enumerate(depths):
    iteration, r = sensing_rank[N]
    for i in range(5):
        ax.plot(iteration, r[i], color=f"C{j}", lw=1.2, label=f"depth {N}" if i == 0 else None)
for level in (1, 4 / 3):
    ax.axhline(level, color="0.75", lw=0.8, zorder=0)
ax.set(xscale="log", xlim=(10, None), ylim=(0.9, 2.4), xlabel="updates", ylabel="effective rank")
ax.legend()
figures.show(
    fig,
    alt="Effective rank over time in matrix sensing for depths two, three and four, five seeds each: it falls "
    "to about one and rises to 1.33, in a clean step at depths three and four; at depth two the step is "
    "rounder and some curves overshoot a little.",
    caption="Matrix sensing from identical starts: the steps are at 1 and 4/3, the effective ranks of the "
    "projections of the truth.",
    name="fig-deep-sensing",
)

# %% [markdown]
# ## Depth beside BM and UDU
#
# The other paper of this book gets its low rank from a constraint, this one from depth. On one completion problem (30 ×
# 30, rank 3, 400 entries seen), from the same start $0.01\,I$ for every factor and the same step size, which ends
# lower? Depth 2 from identical factors needs no run of its own: it *is* Burer–Monteiro with half the step size.
#
# **Before you read on:** where will the fourth singular value end, for BM, for depth 4, for UDU?

# %%
side, observed, its = 30, 400, {"ci": 4_000, "book": 10_000, "paper": 50_000}[size]
together, answers = ul.planted_completion(d=side, rank=3, observed=observed,
                                          spectrum=(3.0, 2.0, 1.0), seed=seeds[:5])
eye = 0.01 * np.eye(side)
grid = log_grid(its, 120)
common = {"step_size": 0.04, "iterations": its, "record_at": grid - 1, "device": "cpu"}
bm = ul.descend(together, ul.BM(rank=side), start={"U": eye},
                **(common | {"step_size": 0.02}))
udu = ul.descend(together, ul.UDU(rank=side), start={"U": eye, "D": np.ones(side)},
                 **common)
spectra = {"BM = depth 2": bm.spectra, "UDU": udu.spectra}  # (seeds, T, d)
finals = {"BM = depth 2": bm.product(), "UDU": udu.product()}
for N in (3, 4):
    run = ul.deep.descend(together, N, scale[N], 0.04, its, record_at=grid)
    spectra[f"depth {N}"], finals[f"depth {N}"] = (
        run.singular_values, run.products[:, -1]
    )

twin = ul.deep.descend(together, 2, 0.01, 0.04, 500)
half = ul.descend(together, ul.BM(rank=side), start={"U": eye}, step_size=0.02,
                  iterations=500, device="cpu")
print(f"depth 2 against BM with half the step: "
      f"{np.abs(twin.products[:, -1] - half.product()).max():.0e} apart")
print("                relative error (median, range)      fourth over first singular "
      "value")
for label, X in finals.items():
    off = answers.relative_error(X)
    tail = spectra[label][:, -1, 3] / spectra[label][:, -1, 0]
    spread_of = f"{np.median(off):.1e} ({min(off):.1e} to {max(off):.1e})"
    print(f"{label:<14}  {spread_of}      {tail.min():.0e} to {tail.max():.0e}")

# %%
fig, axes = plt.subplots(2, 1, figsize=(6.4, 7.2))
for j, (label, s) in enumerate(spectra.items()):
    axes[0].plot(grid, ul.effective_rank(s[0], kind="nuclear"), color=f"C{j}", label=label)
    axes[1].plot(range(1, 11), np.maximum(s[0, -1, :10] / s[0, -1, 0], 1e-34), "o-", color=f"C{j}", label=label)
axes[0].axhline(2, color="0.75", lw=0.8, zorder=0)
axes[0].set(xscale="log", ylim=(0.8, 4), xlabel="updates", ylabel="effective rank")
axes[1].set(yscale="log", ylim=(1e-35, 10), xlabel="index", ylabel="singular value over the first, at the end")
axes[0].legend()
figures.show(
    fig,
    alt="Top: effective rank over time for BM, UDU, depth three and depth four: all fall to about one and "
    "climb to two in steps, sharp ones at depths three and four. Bottom: the final singular values; after "
    "the third, BM and the deep ones end on a gentle slope around 1e-3 to 1e-5, UDU drops to 1e-32.",
    caption="One completion problem, the same start. Depth sharpens the steps and lowers the tail; UDU removes it.",
    name="fig-deep-beside-udu",
)

# %% [markdown]
# Depth makes what is not wanted *wait*: an eigenvalue that is not needed stays about where it started, so the tail has
# the size of the start. UDU makes it *vanish*: while the constraint is active every column that does not grow is
# shrunk, step after step. It pays with time. Why that is so is the subject of the notebook on fixed points and
# dynamics.
#
# ## Verdicts

# %% tags=["nbval-check-output"]
ledger.table()

# %% [markdown]
# **Summary.** From identical factors the descent falls apart into one recursion for each eigenvalue, and all else follows
# from it. Larger eigenvalues come first, and depth spreads their times; between two of them the effective rank rests on a
# plateau, at times that can be computed beforehand. Stopping there denoises. In the first steps the effective rank
# *falls*, so "monotone" holds from its minimum on. Negative eigenvalues are never found unless the start is perturbed, or
# round-off does it. Depth leaves a tail of the size of its start; UDU removes it.
#
# ## Exercises
#
# **1.** At depth 2 the first level of the staircase has no certified interval. Find a start that gives it one.
#
# <details><summary>Solution</summary>
#
# ```python
# for tiny in 10.0 ** -np.arange(4, 17):
#     print(tiny, ul.deep.plateau(targets[0], 1, 2, tiny**0.5, step_size, error, leak))
# ```
#
# The first eigenvalue is through a little after $\ln(\sqrt{5}/\alpha)/5$, and the second appears at about
# $\ln(\sqrt{\delta}/\alpha)/3$, in units of $1/\eta$. The second time grows faster as $\alpha$ falls, and overtakes the
# first once the start is far smaller than here.
#
# </details>
#
# **2.** The discrepancy principle stops when the residual $\|W - \widehat W\|_F$ has fallen to the size of the noise,
# $\|Z\|_F$, which one must know. Compare it with the plateau rule.
#
# <details><summary>Solution</summary>
#
# ```python
# for N in depths:
#     iteration, curves, stops, _ = denoised[N]
#     X, t, vectors = noisy(0, loud)
#     Z = vectors * t @ vectors.T - X
#     values = ul.deep.eigenvalues(t, N, scale[N], step_size, steps[N], record_at=iteration).values
#     residual = np.linalg.norm(values - t, axis=1)  # product and target share eigenvectors
#     k = np.argmax(residual <= np.linalg.norm(Z))
#     print(N, iteration[k], curves[0, k] / curves[0].min(), "rule:", iteration[stops[0]])
# ```
#
# It stops while the last eigenvalue of the signal arrives, a little early, and it needs the noise level. The plateau
# rule needs none, but it has to run past the place where it stops.
#
# </details>
#
# **3.** A product of $N$ factors that starts at $\alpha^N I$ and one that starts at $\alpha I$ with the same $\alpha$
# are different experiments. Repeat the staircase with $\alpha = 0.1$ for all depths. Which conclusions change?
#
# <details><summary>Solution</summary>
#
# Set `scale = {N: 0.1 for N in depths}` and use `max(leak, 0.1**N)` for `leak`. At depth 4 nothing changes. At depth 2
# the product now starts at 0.01, which is the leak already, and no interval is left. Part of what looks like an effect
# of depth is then one of the start. That is why the notebook keeps the start of the product fixed.
#
# </details>
#
# **4.** In the last experiment, the tail of depth 4 is set by the start. Show it.
#
# <details><summary>Solution</summary>
#
# ```python
# for tiny, its in [(1e-2, 2_000), (1e-3, 4_000), (1e-4, 8_000)]:
#     print(tiny, ul.deep.descend(together, 4, tiny**0.25, 0.04, its).singular_values[:, -1, 3])
# ```
#
# The fourth singular value follows the start of the product. The smaller the start, the longer the run: the waiting
# time grows as $\alpha^{-2}$.
#
# </details>
#
# ## Times
#
# Size `ci` takes about ten seconds, `book` half a minute, `paper` some minutes. Nothing here needs a GPU.
