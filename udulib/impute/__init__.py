"""Complete a matrix: rank, ridge and means are chosen by entries that are held out.

``LowRankCompleter`` is for triplets. ``LowRankImputer`` is for tables, and needs scikit-learn:
``pip install "udulib[impute]"``.
"""

import importlib

from udulib.impute.completer import LowRankCompleter
from udulib.impute.reports import LowRankWarning

__all__ = ["LowRankCompleter", "LowRankImputer", "LowRankWarning"]


def __getattr__(name):
    if name != "LowRankImputer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return importlib.import_module("udulib.impute.imputer").LowRankImputer
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        raise ImportError(
            "LowRankImputer needs scikit-learn, which is not installed; pip install scikit-learn"
        ) from error
