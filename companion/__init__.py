"""The book's own: its experiments and its evidence. Notebooks are written in its words; udulib knows nothing of it."""

from companion import figures
from companion.ledger import Ledger

__all__ = ["Ledger", "figures"]
