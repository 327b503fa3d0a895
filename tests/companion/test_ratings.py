"""The ratings' protocol: splits, methods tuned alike, committed logs; and ids that are none."""

import numpy as np
import pytest

import udulib as ul
from companion.completion import ratings
from udulib import solvers


@pytest.fixture(scope="module")
def few():
    """A small table of ratings with some structure."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(40 * 60, 1200, replace=False)
    X = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 60))
    values = np.clip(np.round(3.5 + X.ravel()[pairs]), 1, 5)
    return ratings.from_arrays(pairs // 60, pairs % 60, values)


def test_splits_part_the_ratings_and_share_one_validation_set(few):
    first = ratings.split(few, 0)
    for seed in range(3):
        parts = ratings.split(few, seed)
        everything = np.concatenate([parts.train, parts.validation, parts.test])
        assert np.array_equal(np.sort(everything), np.arange(1200))
        assert (len(parts.validation), len(parts.test)) == (96, 240)
        assert np.array_equal(parts.validation, first.validation)
    assert not np.array_equal(ratings.split(few, 1).test, first.test)


def test_the_core_holds_the_most_active(few):
    core = ratings.from_arrays(few.users, few.items, few.values, core=(10, 20))
    assert core.shape == (10, 20)
    kept = np.sort(np.bincount(few.users))[-10:].sum()
    assert len(core.values) <= kept
    assert np.bincount(core.users).min() > 0


@pytest.mark.parametrize("method", [name for name in ratings.METHODS if name != "biased factorization"])
def test_every_method_is_tuned_and_scored(few, method):
    """Two runs each; what was chosen beats the means alone on ratings that have structure."""
    log = ratings.tune(method, few, budget=2)
    assert len(log["runs"]) == 2
    best = min(run["validation"] for run in log["runs"] if run["validation"] is not None)
    assert log["chosen"] in [run["settings"] for run in log["runs"] if run["validation"] == best]
    parts = ratings.split(few, 1)
    score = ratings.score(method, log["chosen"], few, parts)
    found = solvers.means(few.problem(np.append(parts.train, parts.validation)))
    alone = np.clip(found.at(few.users[parts.test], few.items[parts.test]), 1, 5) - few.values[parts.test]
    assert score.rmse < 1.02 * np.sqrt(np.mean(alone**2))
    assert 0 <= score.rank <= score.columns


def test_no_test_rating_is_seen_while_tuning(few):
    values = few.values.copy()
    values[ratings.split(few, 0).test] = 1.0
    other = ratings.Ratings(few.users, few.items, values, few.shape)
    logs = [ratings.tune("ALS", table, budget=3) for table in (few, other)]
    one, two = ([run["validation"] for run in log["runs"]] for log in logs)
    assert one == two


def test_the_second_round_takes_the_means_of_what_the_factors_leave(few):
    """Two rounds are: fit; means of the ratings less that fit; fit to the ratings less those means."""
    parts, given = ratings.split(few, 0), {"rank": 2, "ridge": 5.0, "weighted": False, "sweeps": 3}
    index = np.append(parts.train, parts.validation)
    i, j, values = few.users[index], few.items[index], few.values[index]
    first = solvers.als(ratings.prepared(few, index, "ALS")[0], tol=0.0, **given)
    rest = ul.Completion(i, j, values - first.entries(i, j), few.shape)
    problem, means = ratings.prepared(few, index, "ALS", explained=first.entries(i, j))
    assert np.array_equal(means.at(i, j), solvers.means(rest).at(i, j))
    second = solvers.als(problem, tol=0.0, **given)
    i, j = few.users[parts.test], few.items[parts.test]
    error = np.clip(second.entries(i, j) + means.at(i, j), 1, 5) - few.values[parts.test]
    twice, once = (ratings.score("ALS", given, few, parts, rounds=rounds).rmse for rounds in (2, 1))
    assert twice == pytest.approx(np.sqrt(np.mean(error**2))) and twice != pytest.approx(once)


@pytest.mark.parametrize("core", [True, False])
def test_the_committed_logs_are_of_one_budget_and_chose_by_validation(core):
    logs = ratings.read_logs(core)
    assert {log["method"] for log in logs} == set(ratings.METHODS)
    for log in logs:
        assert len(log["runs"]) == ratings.BUDGET and len(log["scores"]) == 5
        tried = [run for run in log["runs"] if run["validation"] is not None]
        assert log["chosen"] == min(tried, key=lambda run: run["validation"])["settings"]


def test_an_unknown_method_is_named():
    with pytest.raises(ul.InputError, match="soft-impute"):
        ratings.tune("magic", None)
    with pytest.raises(ul.InputError, match="soft-impute"):
        ratings.score("magic", {}, None, None)


@pytest.mark.parametrize("method", ratings.METHODS)
def test_what_a_class_is_called_does_not_decide_what_is_tuned(method):
    """The committed logs rest on the settings that were drawn."""
    scale = ratings.Scale(norm=2.0, noise=1.0, density=0.3)
    known = ratings.METHODS[method]
    renamed = object.__new__(type("Renamed", (type(known),), {}))
    renamed.__dict__.update(known.__dict__)
    assert renamed.draws(5, scale) == known.draws(5, scale)


USERS, ITEMS, VALUES = np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([5.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("users", "items", "values", "words"),
    [
        ([0, 2, 2], ITEMS, VALUES, r"users count from zero without gaps; got 2 different ones, 0 to 2; number them"),
        ([1, 2, 2], ITEMS, VALUES, r"users count from zero .* 1 to 2"),
        (USERS, [0, 10**9, 10**9], VALUES, r"items count from zero .* 0 to 1000000000; .*np\.unique\(items"),
        (USERS, [0, -1, 0], VALUES, r"items count from zero .* -1 to 0"),
        (["ann", "bob", "bob"], ITEMS, VALUES, r"users are whole numbers.*got dtype <U3.*np\.unique\(users"),
        ([0.0, 1.0, 1.0], ITEMS, VALUES, "users are whole numbers.*float64"),
        (np.array(["a", 1, None], object), ITEMS, VALUES, "users are whole numbers.*object"),
        ([[0, 1, 1]], ITEMS, VALUES, r"users are whole numbers.*shape \(1, 3\)"),
        ([], [], [], "with at least one"),
        (USERS, ITEMS, [5.0, np.nan, 4.0], "values holds 1 NaN"),
        (USERS, ITEMS, ["5", "3", "4"], "values is an array of real numbers"),
        (USERS, ITEMS, [5.0, 3.0], "got 3 users, 3 items, 2 values"),
    ],
)
def test_ids_and_ratings_of_other_kinds_are_refused_at_once(users, items, values, words):
    with pytest.raises(ul.InputError, match=words):
        ratings.from_arrays(users, items, values)


@pytest.mark.parametrize("ids", [["ann", "bob", "bob"], [7, 10**9, 10**9], [10, 30, 30]])
def test_what_the_refusal_advises_works(ids):
    users = np.unique(ids, return_inverse=True)[1]
    table = ratings.from_arrays(users, list(ITEMS), list(VALUES))  # lists are as good as arrays
    assert table.shape == (2, 2) and table.users.tolist() == [0, 1, 1]
    assert table.problem([0, 1, 2]).b.tolist() == [5.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("arrays", "shape", "words"),
    [
        ((USERS, ITEMS, VALUES), (1, 2), "users lie between 0 and 0; got values from 0 to 1"),
        ((USERS, ITEMS + 10**9, VALUES), (2, 2), "items lie between 0 and 1"),
        ((USERS, np.array(["x"] * 3), VALUES), (2, 2), "items"),
        ((USERS, ITEMS, VALUES), (2.5, 2), "users in shape is a whole number"),
    ],
)
def test_a_table_that_does_not_fit_its_shape_is_refused(arrays, shape, words):
    with pytest.raises(ul.InputError, match=words):
        ratings.Ratings(*arrays, shape)
