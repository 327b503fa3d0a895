r"""Real ratings: MovieLens 100K, its splits, and every method tuned with the same number of runs.

The protocol. 8,000 ratings are set aside once, for validation. Of the other 92,000 a split takes 20,000 for its test.
Each method gets 20 runs on the training part of split 0, scored on the validation ratings; iterations are
chosen by validation too, at no extra cost. The best run's settings are then fitted on training and validation ratings
together, split by split, and tested once. No test rating is ever scored while tuning.
"""

from companion.completion.ratings.methods import COLUMNS, METHODS, Scale, scale_of
from companion.completion.ratings.table import CORE, Ratings, Split, from_arrays, load, split
from companion.completion.ratings.tuning import (
    BUDGET,
    Score,
    follow,
    log_all,
    log_path,
    prepared,
    read_logs,
    score,
    tune,
)

__all__ = [
    "BUDGET",
    "COLUMNS",
    "CORE",
    "METHODS",
    "Ratings",
    "Scale",
    "Score",
    "Split",
    "follow",
    "from_arrays",
    "load",
    "log_all",
    "log_path",
    "prepared",
    "read_logs",
    "scale_of",
    "score",
    "split",
    "tune",
]
