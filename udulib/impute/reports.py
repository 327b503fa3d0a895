"""What a completion says about itself: one warning class, and when it is given."""

import warnings

import torch

POOR = 0.85  # held-out error over that of the column means, above which little was learnt
FEW = 1.5  # entries for each unknown of an answer without a ridge


class LowRankWarning(UserWarning):
    """The completed entries are not to be relied on, or not all of them; the message says why."""


def method_name(found):
    """``"means"``, ``"low rank"`` or ``"low rank with ridge"``."""
    if not found.fit.rank:
        return "means"
    return "low rank with ridge" if found.ridge else "low rank"


def relative_error(found):
    """Held-out error over that of the column means; 0 where the means leave nothing."""
    return found.error / found.means_error if found.means_error else 0.0


def warn_of(found, entries, stacklevel=3):
    """Warn of what a user should know about a :class:`Found`."""

    def say(text):
        warnings.warn(text, LowRankWarning, stacklevel=stacklevel + 1)

    error, rank = relative_error(found), found.fit.rank
    if not rank and found.means_error:
        say("held-out entries are predicted no better by any low rank than by the means: the answer is the means")
    elif error > POOR:
        say(f"held-out entries are predicted hardly better than by column means (error {error:.2f} of theirs)")
    if rank and found.limited and not found.exact:
        say(f"the rank met its limit, {rank}: more may be there (give a larger max_rank, or more entries)")
    unknowns = rank * (sum(entries.shape) - rank)
    if not found.ridge and entries.count < FEW * unknowns:
        say(f"{entries.count} known entries are few for the {unknowns} unknowns of rank {rank}")
    fewest = [
        _below(index, size, rank) for index, size in zip((entries.rows, entries.cols), entries.shape, strict=True)
    ]
    if rank and not found.ridge and any(fewest):
        say(
            f"{fewest[0]} rows and {fewest[1]} columns have fewer known entries than the rank, {rank}: what is "
            "filled in there is not determined by the data"
        )


def _below(index, size, rank):
    return int((torch.bincount(index, minlength=size) < rank).sum())
