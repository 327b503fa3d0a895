r"""Fourier ptychography: pictures of a spectrum through windows, without their phases.

Each illumination shifts the object's spectrum behind the lens, which passes one window of it; the camera keeps the
intensity. With :math:`X = x x^{\mathsf H}` for the spectrum x the intensities are linear in X, so that the problem is
one of the same kind as completion or sensing. X itself (n x n for n samples of the spectrum) is never formed.
"""

import math

import numpy as np
import torch

from udulib.checks import finite_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.problems.base import Problem, half_square

NORM_OF_DATA = 0.85  # ||b||^2 over theta at the answer; 0.91 to 0.95 with random pupils, 0.78 to 0.86 with a plain lens
PART = 2**18  # complex numbers in the pictures of all columns up to which a batch is one: beyond, caches overflow


class Ptychography(Problem):
    r"""Intensities behind windows of a spectrum: :math:`f(X) = \tfrac12\sum_l \|\mathcal A_l(X) - I_l\|^2`.

    .. math:: \mathcal A_l(x x^{\mathsf H}) = |F^{-1}(P_l \odot x_{\Omega_l})|^2

    where :math:`\Omega_l` is the l-th window of the centred spectrum, :math:`P_l` its pupil and :math:`F^{-1}` the
    unitary inverse Fourier transform of a w x w array. x holds those samples of the spectrum that some window sees.

    Parameters
    ----------
    pupils : array, shape (L, w, w)
        What the lens does to each sample in a window, real or complex; zero where nothing passes.
    corners : array of int, shape (L, 2)
        Row and column of each window's first sample in the centred spectrum (``np.fft.fftshift``).
    shape : tuple of two int
        Rows and columns of the object, and so of its spectrum.
    intensities : array, shape (L, w, w)
        What the camera saw, at least zero, in any unit. See :meth:`normalised`. What a NumPy masked array hides is left
        out.
    mask : array of bool, shape (L, w, w) or (w, w), optional
        Which pixels count; the others (dead, saturated, behind a beam stop) are left out, and may hold anything.

    Attributes
    ----------
    samples : torch.Tensor of int, shape (n,)
        Where the entries of x are in the flattened spectrum.
    good : torch.Tensor of bool, shape (L w w,)
        Which measurements count. The others are zero in ``b`` and in ``measure``.
    unit : torch.Tensor, shape (*)
        By how much x is larger than the spectrum in the unit of the given intensities; 1 before :meth:`normalised`.

    Raises
    ------
    InputError
        Windows that leave the spectrum or share no sample with the others (their phases would be free), pupils that
        are zero, intensities that are negative, all zero, NaN or inf, shapes that do not fit.

    Examples
    --------
    >>> pupils, corners = np.ones((2, 2, 2)), [[0, 0], [0, 1]]
    >>> problem = Ptychography(pupils, corners, shape=(2, 3), intensities=np.ones((2, 2, 2)))
    >>> problem.shape, problem.is_complex
    ((6, 6), True)
    """

    symmetric = True
    is_complex = True
    arrays = ("pupils", "b", "unit")
    shared = ("windows", "samples", "good")

    def __init__(self, pupils, corners, shape, intensities, mask=None):
        pupils = finite_array("pupils", pupils, ndim=3)
        good = _good(intensities, mask)
        intensities = finite_array("intensities", np.where(good, intensities, 0.0), ndim=3)
        self.image_shape = tuple(whole_number("each side of shape", side, 1) for side in shape)
        if len(self.image_shape) != 2:
            raise InputError(f"shape is (rows, columns) of the object; got {shape!r}")
        _check_data(pupils, intensities)
        places = places_of(corners, pupils.shape, self.image_shape)  # (L, w, w)
        open_ = pupils != 0
        _check_overlap(places, open_, self.image_shape)
        samples, windows = np.unique(places[open_], return_inverse=True)
        index = np.zeros(pupils.shape, dtype=np.int64)  # what the pupil blocks reads sample 0, times zero
        index[open_] = windows
        self.shape = (len(samples), len(samples))
        self.samples, self.windows = torch.from_numpy(samples), torch.from_numpy(index.ravel())
        self.pupils = torch.from_numpy(pupils.astype(np.complex128))
        self.b = torch.from_numpy(intensities.ravel())
        self.good, self.is_masked = torch.from_numpy(good.ravel()), not good.all()
        self.unit = torch.ones((), dtype=torch.float64)

    def measure(self, L, R):
        return self._where_good((self._fields(L) * self._fields(R).conj()).sum(-4).real.flatten(-3))

    def adjoint(self, residual):
        return WindowMatrix(self, self._where_good(residual))

    def gradient(self, U, D=None, V=None):
        if V is not None:
            return super().gradient(U, D, V)
        batch = torch.broadcast_shapes(U.shape[:-2], self.batch_shape)
        if batch and U.device.type == "cpu" and math.prod(batch) * U.shape[-1] * len(self.windows) > PART:
            return self._gradient_in_parts(U, D, batch)
        fields = self._fields(U)  # (*, r, L, w, w): each column is transformed once, for the intensities and for GU
        residual = self._intensities(fields, D) - self.b
        GU = self._fold(fields.mul_(self._as_pictures(residual)))
        return half_square(residual), GU, GU

    def _gradient_in_parts(self, U, D, batch):
        """One entry of the batch's first dimension after the other."""
        U, D = U.expand(*batch, *U.shape[-2:]), None if D is None else D.expand(*batch, -1)
        parts = []
        for i in range(batch[0]):
            stacked = len(self.batch_shape) == len(batch)
            k = min(i, self.batch_shape[0] - 1) if stacked else 0  # a first dimension of one serves all
            problem = self._mapped(lambda name: getattr(self, name)[k], self.arrays) if stacked else self  # noqa: B023
            parts.append(problem.gradient(U[i], None if D is None else D[i]))
        objective, GU = (torch.stack(column) for column in list(zip(*parts, strict=True))[:2])
        return objective, GU, GU

    def objective(self, U, D=None, V=None):
        if V is not None:
            return super().objective(U, D, V)
        return half_square(self._intensities(self._fields(U), D) - self.b)

    def normalised(self, scale=8.0, theta=5.0):
        r"""The same problem in the units in which UDU's ball of radius one is the right one.

        Needs the data alone: the trace of X is taken as the energy of the brightest picture (for objects that are not
        dark on average 1 % too low, as its window holds the mean), and :math:`\theta` as :math:`\|b\|^2 / 0.85`.

        Parameters
        ----------
        scale : float, default 8.0
            The trace s of the answer, in units of the ball. UDU ends with rank one if it is about 5 or more, and D
            needs a number of iterations that grows like its square.
        theta : float, default 5.0
            The curvature of f along U at the answer, for D = s: the step size :math:`\eta` may be up to about
            :math:`1 / (2\theta)` for UDU (a tenth less with one plain pupil for all), and s times that for
            Burer-Monteiro, whose U is :math:`\sqrt s` larger.

        Returns
        -------
        Ptychography
            What it finds, :meth:`image` gives in the old unit.

        Examples
        --------
        >>> problem = Ptychography(np.ones((2, 2, 2)), [[0, 0], [0, 1]], (2, 3), np.ones((2, 2, 2)))
        >>> round(float(problem.normalised(theta=4.0).b.square().sum()), 12)
        3.4
        """
        scale, theta = (positive_number(name, v) for name, v in (("scale", scale), ("theta", theta)))
        stretch = torch.sqrt(scale / self.trace_estimate())  # of x
        gain = torch.sqrt(NORM_OF_DATA * theta / torch.linalg.vecdot(self.b, self.b))  # of b
        new = {
            "pupils": self.pupils * (torch.sqrt(gain) / stretch)[..., None, None, None],
            "b": self.b * gain[..., None],
            "unit": self.unit * stretch,
        }
        return self._mapped(new.get, self.arrays)

    def trace_estimate(self):
        r"""The energy of the brightest picture, shape (\*,): :math:`\|x\|^2` but for 1 % if the object has a mean."""
        energies = self.b.unflatten(-1, self.pupils.shape[-3:]).sum((-2, -1))  # (*, L)
        if self.is_masked:
            counted = self.good.unflatten(-1, self.pupils.shape[-3:]).double().mean((-2, -1))  # (L,)
            energies = energies / counted.clamp(min=1 / self.pupils.shape[-1] ** 2).to(energies)
        return (energies / self.pupils.abs().square().amax((-2, -1))).amax(-1)

    def image(self, estimate):
        r"""The complex object, in the unit of the intensities as they were given.

        Parameters
        ----------
        estimate : Trace, dict of factors, or array (\*, n)
            Where it is factors, x is the leading eigenvector of X times the root of its eigenvalue.

        Returns
        -------
        array of complex, shape (\*, rows, columns)
            Its global phase means nothing.
        """
        x = leading_vector(estimate) / self.unit.numpy(force=True)[..., None]
        return image_of(x, self.samples.numpy(force=True), self.image_shape)

    def with_moduli(self, fields):
        """Fields (*, 1, L, w, w) with the measured moduli and their own phases; as they are where nothing counts."""
        moduli = self._as_pictures(self.b.sqrt())
        changed = fields * (moduli / fields.abs().clamp(min=torch.finfo(moduli.dtype).tiny))
        return torch.where(self._as_pictures(self.good), changed, fields) if self.is_masked else changed

    def _where_good(self, values):
        return values * self.good if self.is_masked else values

    def _as_pictures(self, values):
        """Values (*, m) as factors of the pictures of columns: (*, 1, L, w, w)."""
        return values.unflatten(-1, self.pupils.shape[-3:]).unsqueeze(-4)

    def _fields(self, U):
        """The complex pictures of each column: (*, n, r) to (*, r, L, w, w)."""
        seen = U.index_select(-2, self.windows).mT.contiguous()  # rows are fetched faster than columns
        return torch.fft.ifft2(seen.unflatten(-1, self.pupils.shape[-3:]) * self.pupils.unsqueeze(-4), norm="ortho")

    def _intensities(self, fields, D):
        squares = fields.real.square() + fields.imag.square()  # faster than a complex product, and than abs
        intensities = (squares if D is None else squares * D[..., None, None, None]).sum(-4).flatten(-3)  # (*, m)
        return self._where_good(intensities)

    def _fold(self, fields):
        """Where the pictures go in A*: the sum over windows of conj(P) F(field), (*, r, L, w, w) to (*, n, r)."""
        spectra = torch.fft.fft2(fields, norm="ortho").mul_(self.pupils.conj().unsqueeze(-4)).flatten(-3)
        folded = spectra.new_zeros(*spectra.shape[:-1], self.shape[0]).index_add_(-1, self.windows, spectra)
        return folded.mT.contiguous()


class WindowMatrix:
    """A*(residual): Hermitian, and never formed."""

    def __init__(self, problem, residual):
        self.problem, self.residual, self.mH = problem, residual, self
        self.shape = problem.shape

    def __matmul__(self, R):
        return self.problem._fold(self.problem._fields(R) * self.problem._as_pictures(self.residual))


def leading_vector(estimate):
    r"""The vector x whose :math:`x x^{\mathsf H}` is nearest to X, without forming X.

    Parameters
    ----------
    estimate : Trace, dict of factors, or array (\*, n)
        An array is taken for x itself.

    Returns
    -------
    array, shape (\*, n)

    Examples
    --------
    >>> x = leading_vector({"U": np.diag([1.0, 2.0]), "D": np.array([9.0, 1.0])})
    >>> np.abs(x).tolist()
    [3.0, 0.0]
    """
    factors = estimate.factors if hasattr(estimate, "factors") else estimate
    if not isinstance(factors, dict):
        return np.asarray(factors)
    W = factors["U"] * np.sqrt(factors["D"])[..., None, :] if "D" in factors else factors["U"]  # (*, n, r)
    finite = np.isfinite(W).all(axis=(-2, -1))[..., None, None]
    safe = np.where(finite, W, 0)
    _, Q = np.linalg.eigh(np.swapaxes(safe, -1, -2).conj() @ safe)  # of WᴴW, r x r, ascending
    return np.where(finite, W @ Q[..., -1:], np.nan)[..., 0]


def image_of(x, samples, shape):
    """The picture whose centred spectrum has x at ``samples``, shape (*, rows, cols)."""
    flat = np.zeros((*x.shape[:-1], shape[0] * shape[1]), dtype=complex)
    flat[..., samples] = x
    return np.fft.ifft2(np.fft.ifftshift(flat.reshape(*x.shape[:-1], *shape), axes=(-2, -1)), norm="ortho")


def places_of(corners, pupil_shape, shape):
    """Where each sample of each window is in the flattened spectrum, shape (L, w, w)."""
    corners = np.asarray(corners)
    if corners.dtype.kind not in "iu" or corners.shape != (pupil_shape[0], 2):
        raise InputError(
            f"corners are whole numbers, shape ({pupil_shape[0]}, 2), one for each pupil; "
            f"got {corners.dtype}, shape {corners.shape}"
        )
    last = corners + pupil_shape[1:]
    outside = (corners < 0).any(axis=1) | (last > shape).any(axis=1)
    if outside.any():
        l = int(outside.argmax())  # noqa: E741
        raise InputError(
            f"every window lies inside the spectrum of shape {shape}; number {l} has corner {corners[l].tolist()} "
            f"and side {pupil_shape[1]} ({outside.sum()} of {len(corners)} lie outside)"
        )
    rows, cols = (corners[:, k, None] + np.arange(pupil_shape[k + 1]) for k in range(2))  # (L, w)
    return rows[:, :, None] * shape[1] + cols[:, None, :]


def _good(intensities, mask):
    """Which measurements count, shape (L, w, w)."""
    shape, hidden = np.shape(intensities), np.ma.getmaskarray(intensities) if np.ma.isMA(intensities) else False
    if mask is None:
        return np.broadcast_to(~np.asarray(hidden), shape).copy()
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
        raise InputError(
            f"mask is true or false for each pixel, shape {shape} or {shape[1:]}; got {mask.dtype}, shape {mask.shape}"
        )
    if not mask.any():
        raise InputError("mask leaves no pixel; it is true where a pixel counts")
    return np.broadcast_to(mask, shape) & ~np.asarray(hidden)


def _check_data(pupils, intensities):
    if not len(pupils) or pupils.shape[1] != pupils.shape[2]:
        raise InputError(f"pupils have shape (L, w, w), with at least one illumination; got {pupils.shape}")
    if intensities.shape != pupils.shape:
        raise InputError(
            f"there is one intensity for each sample of each pupil: shape {pupils.shape}; got {intensities.shape}"
        )
    if intensities.dtype.kind == "c" or (intensities < 0).any():
        worst = "complex ones" if intensities.dtype.kind == "c" else f"a smallest one of {intensities.min():.3g}"
        raise InputError(f"intensities are real and at least zero; got {worst} (cut noise off at zero)")
    if not intensities.any():
        raise InputError("all intensities are zero: there is nothing to recover")
    dark = ~pupils.any(axis=(1, 2))
    if dark.any():
        raise InputError(f"pupil {int(dark.argmax())} is zero everywhere; leave such illuminations out")


def _check_overlap(places, open_, shape):
    """Windows that share no open sample with the rest would have a free phase of their own."""
    seen = np.zeros((len(places), shape[0] * shape[1]), dtype=np.float32)
    for row, place, passed in zip(seen, places, open_, strict=True):
        row[place[passed]] = 1
    neighbours = seen @ seen.T > 0  # (L, L)
    reached = np.zeros(len(places), dtype=bool)
    reached[0], count = True, 0
    while count != reached.sum():
        count = reached.sum()
        reached = neighbours[reached].any(axis=0)
    if not reached.all():
        raise InputError(
            f"the windows hang together by the samples they share, or their phases relative to each other are free; "
            f"{len(reached) - count} of {len(reached)} share none with window 0 and those it reaches, "
            f"number {int((~reached).argmax())} for one (use a smaller step)"
        )
