"""Hostile and careless input: whatever is given in place of one argument, the answer is an answer or our own error.

``UDULIB_FUZZ`` is the number of cases: 300 every day, 6,000 for ``make fuzz``. A case counts as answered, too, where
memory does not suffice.
"""

import os
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import udulib as ul
from companion import data
from companion.completion import ratings
from companion.ledger import Band
from udulib import compress, deep, nn, solvers, sweep
from udulib.factorization import radius, spectra, stopping

CASES = int(os.environ.get("UDULIB_FUZZ", "300"))
DTYPES = [np.float64, np.float32, np.int64, np.complex128, np.bool_, np.uint8]

numbers = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from([-(10**9), 2**70, -1e308, 1e-320, 0.0, -0.0, float("nan"), float("inf"), 1j, Fraction(1, 3)]),
    st.floats(-3, 3),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.just(object()),
)
arrays = hnp.arrays(
    st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6), elements=None
)
junk = st.one_of(
    numbers,
    st.lists(numbers, max_size=4),
    st.tuples(numbers, numbers),
    st.dictionaries(st.text(max_size=2), numbers, max_size=2),
    arrays,
    arrays.map(torch.tensor),
    arrays.map(lambda array: array.astype(object)),
    arrays.map(np.ma.masked_invalid),
)

PROBLEM = ul.planted_completion(d=6, rank=1, observed=20, seed=0)[0]
RECTANGULAR = ul.planted_completion(d=(5, 6), rank=1, observed=20, seed=0)[0]
TRACE = ul.descend(PROBLEM, ul.UDU(rank=3), step_size=0.05, iterations=20)
U, D, V = np.ones((5, 3)), np.ones(3), np.ones((4, 3))
DESCENT = {"problem": PROBLEM, "model": ul.UDU(rank=3), "step_size": 0.05, "iterations": 3}
DESCENT |= {"init_scale": 0.1, "d_init": 1.0, "seed": 0, "record_at": [1], "record": (), "monitor": None, "start": None}
DESCENT |= {"dtype": "float64", "engine": "loop", "device": "cpu"}
NET = nn.UDVLinear(4, 3, hidden=5)

CALLS = {  # each with arguments that are right
    "descend": (ul.descend, DESCENT),
    "UDU": (ul.UDU, {"rank": 3, "radius": 1.0}),
    "UDV": (ul.UDV, {"rank": 3, "radius": 1.0}),
    "UV": (ul.UV, {"rank": 3}),
    "BM": (ul.BM, {"rank": 3}),
    "Completion": (
        ul.Completion,
        {"rows": [0, 1], "cols": [1, 0], "values": [1.0, 2.0], "shape": (2, 2), "symmetric": False},
    ),
    "Sensing": (ul.Sensing, {"matrices": np.ones((3, 2, 2)), "b": np.ones(3), "symmetric": None}),
    "planted_completion": (
        ul.planted_completion,
        {"d": 5, "rank": 2, "observed": 9, "spectrum": None, "noise": 0.0, "seed": 0},
    ),
    "planted_sensing": (
        ul.planted_sensing,
        {"d": 5, "rank": 2, "measurements": 9, "spectrum": None, "noise": 0.0, "seed": 0},
    ),
    "stack": (ul.stack, {"problems": [PROBLEM, PROBLEM]}),
    "numerical_rank": (ul.numerical_rank, {"s": D, "rtol": 0.1}),
    "effective_rank": (spectra.effective_rank, {"s": D, "kind": "entropy"}),
    "suggest_radius": (ul.suggest_radius, {"problem": PROBLEM, "strength": 8.5, "seed": 0}),
    "bias_strength": (radius.bias_strength, {"singular_values": D, "radius": 1.0}),
    "expected_shrink": (radius.expected_shrink, {"singular_values": D, "radius": 1.0, "d_init": 1.0}),
    "largest_step": (radius.largest_step, {"singular_values": D, "radius": 1.0, "density": 0.5, "d_init": 0.0}),
    "rank_plateau": (stopping.rank_plateau, {"trace": TRACE, "problem": PROBLEM, "rtol": 1e-8}),
    "als": (solvers.als, {"problem": RECTANGULAR, "rank": 2, "ridge": 0.1, "sweeps": 2, "tol": 1e-6, "seed": 0}),
    "soft_impute": (solvers.soft_impute, {"problem": RECTANGULAR, "penalty": 0.1, "rank": 2, "sweeps": 2, "tol": 1e-5}),
    "means": (solvers.means, {"problem": RECTANGULAR, "ridge": (10.0, 5.0), "sweeps": 2}),
    "ranked": (compress.ranked, {"U": U, "D": D, "V": V, "method": "product"}),
    "width": (compress.width, {"scores": D, "rank": None, "tol": 0.1, "energy": None}),
    "break_even": (compress.break_even, {"in_features": 4, "out_features": 3}),
    "UDVLinear": (nn.UDVLinear, {"in_features": 4, "out_features": 3, "hidden": 2, "radius": 1.0, "ball": "columns"}),
    "layer": (NET, {"x": torch.ones(2, 4)}),
    "nn.suggest_radius": (nn.suggest_radius, {"inputs": np.ones((6, 2)), "targets": np.arange(6.0), "iterations": 2}),
    "diagnose": (nn.diagnose, {"model": NET, "tol": 0.01}),
    "feasible": (nn.feasible, {"model": NET}),
    "grid": (sweep.grid, {"radius": [1.0, 2.0]}),
    "deep.descend": (
        deep.descend,
        {"target": np.eye(2), "depth": 2, "scale": 0.1, "step_size": 0.01, "iterations": 3, "init": "identical"},
    ),
    "step_bound": (deep.step_bound, {"target": 1.0, "depth": 2, "scale": 0.1}),
    "recovery_steps": (
        deep.recovery_steps,
        {"target": 1.0, "level": 0.5, "depth": 2, "scale": 0.1, "step_size": 0.01},
    ),
    "Band.parse": (Band.parse, {"mapping": {"min": 1.0}}),
    "from_arrays": (ratings.from_arrays, {"users": [0, 1], "items": [1, 0], "values": [1.0, 2.0], "core": None}),
    "about": (data.about, {"name": "mnist"}),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_arguments_to_start_from_are_right(name):
    function, arguments = CALLS[name]
    function(**arguments)


@pytest.mark.filterwarnings("ignore")  # of NumPy and torch, about the numbers that are given
@pytest.mark.parametrize("name", CALLS)
def test_whatever_is_given_the_answer_is_an_answer_or_our_own_error(name):
    function, arguments = CALLS[name]

    @settings(max_examples=max(5, CASES // len(CALLS)), suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(sorted(arguments)), junk)
    def call(argument, value):
        try:
            function(**(arguments | {argument: value}))
        except ul.InputError as error:
            assert len(str(error)) > 10
        except MemoryError:
            pass

    call()
