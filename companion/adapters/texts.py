"""Sentences and mails, and their kinds."""

import re
from typing import NamedTuple

import numpy as np

from companion import data
from udulib.seeds import generator

GROUP = 600  # mails of a folder at most, so that no kind outweighs the others


class Texts(NamedTuple):
    """Texts in random order, the kind of each, and the kinds' names."""

    texts: list
    labels: np.ndarray  # (n,) int64
    kinds: tuple


def sentiment(folder=None, progress=None):
    """Sentences of movie reviews, negative or positive: those whose mean rating is at least 0.5 from zero.

    Parameters
    ----------
    folder, progress
        As for `companion.data.fetch`.

    Returns
    -------
    Texts

    Examples
    --------
    >>> len(sentiment().texts)  # doctest: +SKIP
    10072
    """
    reviews = data.movie_reviews(folder, progress=progress)
    clear = np.flatnonzero(np.abs(reviews.ratings) >= 0.5)
    return _shuffled([reviews.texts[i] for i in clear], reviews.ratings[clear] > 0, ("negative", "positive"))


def mail_kinds(folder=None, progress=None):
    """The five folders of the SpamAssassin corpus as classes, from the beginning of each mail's body.

    Two are wanted mail of different years, one is wanted mail that looks like spam, two are spam of different years.
    Headers, HTML tags, repeated beginnings and empty mails are left out; of each folder at most 600 are taken.

    Parameters
    ----------
    folder, progress
        As for `companion.data.fetch`.

    Returns
    -------
    Texts

    Examples
    --------
    >>> mail_kinds().kinds  # doctest: +SKIP
    ('easy-ham-1', 'easy-ham-2', 'hard-ham-1', 'spam-1', 'spam-2')
    """
    mails = data.spam(folder, progress=progress)
    kinds = tuple(np.unique(mails.groups).tolist())
    texts, labels, seen, taken = [], [], set(), dict.fromkeys(kinds, 0)
    for i in generator("mails", 0).permutation(len(mails.texts)):
        text = " ".join(re.sub(r"<[^>]*>", " ", mails.texts[i][:4000]).split())[:600]
        group, beginning = str(mails.groups[i]), text[:80]
        if not text or beginning in seen or taken[group] == GROUP:
            continue
        seen.add(beginning)
        taken[group] += 1
        texts.append(text)
        labels.append(kinds.index(group))
    return _shuffled(texts, np.array(labels), kinds)


def _shuffled(texts, labels, kinds):
    order = generator("texts", 0).permutation(len(texts))
    return Texts([texts[i] for i in order], labels[order].astype(np.int64), kinds)
