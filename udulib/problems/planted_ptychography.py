"""Ptychography of planted pictures: instances, and how far an estimate is from the truth."""

from dataclasses import dataclass

import numpy as np

from udulib.checks import finite_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.problems.base import stack
from udulib.problems.planted import Truth
from udulib.problems.ptychography import Ptychography, leading_vector, places_of
from udulib.seeds import generator, seeds_array


@dataclass(frozen=True)
class ImageTruth(Truth):
    r"""The object behind a planted ptychography problem, as far as its windows see it.

    Attributes
    ----------
    factors : dict of array
        ``"U"`` (\*, n, 1), the spectrum at length one, and ``"D"`` (\*, 1), its squared norm in the problem's units.
    image : array of complex, shape (\*, rows, columns)
        The object without those parts of its spectrum that no window sees.
    """

    problem: Ptychography

    @property
    def spectrum(self):
        """x, shape (*, n)."""
        return self.factors["U"][..., 0] * np.sqrt(self.factors["D"])

    @property
    def image(self):
        return self.problem.image(self.spectrum)

    def relative_error(self, estimate):
        r""":math:`\min_\varphi \|e^{i\varphi} z - x\| / \|x\|`, shape (\*,): of the spectrum, or of the image alike.

        Parameters
        ----------
        estimate : Trace, dict of factors, or array (\*, n)
            z itself, or factors, whose z is the leading eigenvector of X times the root of its eigenvalue. NaN where
            the factors hold NaN.

        Examples
        --------
        >>> problem, truth = planted_ptychography(np.eye(16), np.zeros((16, 16)), window=8, grid=3, step=4)
        >>> round(float(truth.relative_error(1j * truth.spectrum)), 12)
        0.0
        """
        z, x = leading_vector(estimate), self.spectrum
        phase = np.exp(1j * np.angle(np.sum(z.conj() * x, axis=-1, keepdims=True)))  # (*, 1)
        return np.linalg.norm(phase * z - x, axis=-1) / np.linalg.norm(x, axis=-1)

    def psnr(self, estimate):
        r"""Peak signal-to-noise ratio of the amplitude in dB, shape (\*,): the larger, the better.

        The peak is the largest amplitude of :attr:`image`, which is also what the estimate is compared with.

        Examples
        --------
        >>> problem, truth = planted_ptychography(np.eye(16), np.zeros((16, 16)), window=8, grid=3, step=4)
        >>> bool(truth.psnr(truth.spectrum * 1.01) > 40)
        True
        """
        amplitude, other = np.abs(self.image), np.abs(self.problem.image(estimate))
        with np.errstate(divide="ignore"):
            mse = np.mean((amplitude - other) ** 2, axis=(-2, -1))
            return 10 * np.log10(np.max(amplitude, axis=(-2, -1)) ** 2 / mse)


def planted_ptychography(
    image, phase, window=16, grid=5, step=4, pupil="random", scale=8.0, theta=5.0, noise=None, seed=0
):
    r"""A ptychography problem with a known answer, and that answer.

    The object is :math:`(0.2 + 0.8\,\text{image})\,\exp(\tfrac{i\pi}{2}\,\text{phase})`; grid x grid windows lie
    centred in its spectrum, ``step`` samples apart, so that neighbours share the fraction 1 - step/window of a side.

    Parameters
    ----------
    image, phase : array, shape (rows, columns)
        Both in [0, 1].
    window : int, default 16
        Side w of a window, and of each measured picture.
    grid : int, default 5
        Illuminations a side: L = grid².
    step : int, default 4
    pupil : {"random", "circular"} or array (L, w, w), default "random"
        ``"random"``: square windows with independent uniform phases, as in the generator of SketchyCGAL's test.
        ``"circular"``: one for all inside the circle of diameter w, zero outside: a lens without aberrations.
    scale, theta : float
        See :meth:`Ptychography.normalised`.
    noise : None, ("gaussian", level) or ("poisson", photons), default None
        Gaussian: of standard deviation level times the root mean square of the intensities, then cut off at zero.
        Poisson: ``photons`` is the mean count a pixel.
    seed : int or sequence of int, default 0
        Of pupils and noise; the object is always the same. One seed for one problem; several for a stack.

    Returns
    -------
    problem : Ptychography
        Normalised.
    truth : ImageTruth

    Raises
    ------
    InputError
        Pictures outside [0, 1] or of two shapes, windows that do not fit, an unknown pupil or noise.

    Examples
    --------
    >>> problem, truth = planted_ptychography(np.eye(32), np.zeros((32, 32)), seed=[0, 1])
    >>> problem.batch_shape, problem.shape, problem.b.shape[-1]
    ((2,), (1024, 1024), 6400)
    """
    image, phase = _unit_picture("image", image), _unit_picture("phase", phase)
    if image.shape != phase.shape:
        raise InputError(f"image and phase have one shape; got {image.shape} and {phase.shape}")
    window, grid, step = (whole_number(k, v, 1) for k, v in (("window", window), ("grid", grid), ("step", step)))
    corners = _grid_corners(window, grid, step, image.shape)
    spectrum = np.fft.fftshift(np.fft.fft2((0.2 + 0.8 * image) * np.exp(0.5j * np.pi * phase), norm="ortho"))
    places = places_of(corners, (grid**2, window, window), image.shape)

    def one(seed):
        rng = generator("problem", seed)
        pupils = _pupils(pupil, grid**2, window, rng)
        pictures = np.abs(np.fft.ifft2(spectrum.ravel()[places] * pupils, norm="ortho")) ** 2
        problem = Ptychography(pupils, corners, image.shape, _with_noise(pictures, noise, rng))
        return problem.normalised(scale, theta)

    seeds = seeds_array(seed)
    if seeds.ndim > 1 or not seeds.size:
        raise InputError(f"seed is an integer or a sequence of integers; got shape {seeds.shape}")
    problem = one(seeds) if seeds.ndim == 0 else stack([one(s) for s in seeds])
    x = spectrum.ravel()[problem.samples] * problem.unit.numpy()[..., None]  # (*, n)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return problem, ImageTruth({"U": (x / length)[..., None], "D": length**2}, problem)


def _unit_picture(name, picture):
    picture = finite_array(name, picture, ndim=2)
    if picture.dtype.kind == "c" or picture.size == 0 or picture.min() < 0 or picture.max() > 1:
        raise InputError(f"{name} is a picture of real numbers between 0 and 1; rescale it first")
    return picture


def _grid_corners(window, grid, step, shape):
    side = (grid - 1) * step + window
    if side > min(shape):
        raise InputError(
            f"{grid} windows of side {window}, {step} apart, need {side} samples a side; the pictures have {shape}"
        )
    first = [(n - side) // 2 for n in shape]
    places = np.arange(grid) * step
    return np.stack(np.meshgrid(first[0] + places, first[1] + places, indexing="ij"), axis=-1).reshape(-1, 2)


def _pupils(kind, count, window, rng):
    if not isinstance(kind, str):
        return kind
    if kind == "random":
        return np.exp(2j * np.pi * rng.random((count, window, window)))
    if kind == "circular":
        y, x = np.mgrid[:window, :window] - (window - 1) / 2
        return np.broadcast_to((x**2 + y**2 <= (window / 2) ** 2).astype(float), (count, window, window))
    raise InputError(f"pupil is 'random', 'circular' or an array (L, w, w); got {kind!r}")


def _with_noise(pictures, noise, rng):
    if noise is None:
        return pictures
    kind, level = noise if isinstance(noise, tuple) and len(noise) == 2 else (None, None)
    if kind == "gaussian":
        sigma = positive_number("the level of the noise", level, allow_zero=True)
        return np.clip(pictures + sigma * np.sqrt(np.mean(pictures**2)) * rng.standard_normal(pictures.shape), 0, None)
    if kind == "poisson":
        unit = positive_number("the photons of the noise", level) / pictures.mean()
        return rng.poisson(pictures * unit) / unit
    raise InputError(f"noise is None, ('gaussian', level) or ('poisson', photons); got {noise!r}")
