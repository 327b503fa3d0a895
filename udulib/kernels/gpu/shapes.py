"""How the threads of a kernel are laid out over rows and columns."""

from dataclasses import dataclass

VECTOR = 16  # bytes that a thread reads at once
VECTORS = {8: 7, 4: 4}  # of a row, that a thread holds at most if a warp can hold the row so, by size of a number
SHORT = 8  # vectors of a row, up to which a run's barriers cost more than a cluster saves
WIDEST = 32 * 8  # vectors of the widest row
REGISTERS = ((64, 32), (72, 28), (80, 24), (96, 20), (128, 16), (152, 13), (255, 8))  # of a thread, to warps of a block
FULL = 0.8  # share of the multiprocessors that clusters can be placed on, as a card's parts are not all alike
THREADS = 512  # below which a run's block is too small to hide what it waits for


@dataclass(frozen=True)
class Shape:
    """A row by ``lanes`` threads with ``vectors`` vectors each, ``batch`` entries at a time."""

    lanes: int
    vectors: int
    batch: int
    threads: int
    cluster: int = 1
    shared: bool = False

    @property
    def resident(self):
        """Blocks of a large problem that a multiprocessor holds at least."""
        return 4 if self.vectors == 1 else 3

    def settings(self, real, learn_d, rectangular):
        """The options that all kernels have."""
        names = {"LANES": self.lanes, "VECTORS": self.vectors, "BATCH": self.batch, "THREADS": self.threads}
        return {**names, "REAL": real, "LEARN_D": int(learn_d), "RECTANGULAR": int(rectangular)}


def columns(rank, itemsize):
    """The columns of a factor, filled up to whole vectors."""
    wide = VECTOR // itemsize
    return -(-rank // wide) * wide


def shape_of_blocks(rows, width, itemsize, runs, card):
    """A shape for ``runs`` runs whose factors have ``rows`` rows and ``width`` columns in all."""
    cluster = 8 if card.clusters and width * itemsize > SHORT * VECTOR else 1
    while cluster > 1 and (runs * cluster > FULL * card.multiprocessors or rows < 8 * cluster):
        cluster //= 2
    lanes, vectors = _lanes(width, itemsize, VECTORS[itemsize], wanted=-(-THREADS * cluster // rows))
    words = vectors * VECTOR // 4
    batch = 4 if words <= (8 if itemsize == 8 else 16) else 1 if words > 24 else 2
    registers = words * (3 + batch) + 40
    most = next((warps for some, warps in REGISTERS if registers <= some), 8)
    groups = -(-rows // (cluster * (32 // lanes)))
    warps = -(-groups // -(-groups // most))
    bytes_shared = itemsize * width * (2 * rows + warps + 1)
    return Shape(lanes, vectors, batch, 32 * warps, cluster, cluster == 1 and bytes_shared <= card.shared)


def shape_of_rows(width, itemsize):
    """A shape for rows of ``width`` columns, many of them."""
    lanes, vectors = _lanes(width, itemsize, itemsize // 4 if width * itemsize <= 32 * VECTOR else 4, wanted=1)
    return Shape(lanes, vectors, 4 if vectors <= 2 else 2, 256)


def _lanes(width, itemsize, most, wanted):
    """Threads of a row, ``wanted`` if all have something to do, and vectors of each, ``most`` if that is enough."""
    vectors, lanes = width * itemsize // VECTOR, 1
    while lanes < 32 and lanes < vectors and (lanes < wanted or -(-vectors // lanes) > most):
        lanes *= 2
    return lanes, -(-vectors // lanes)
