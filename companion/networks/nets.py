"""What is trained: UDV, its variants, and what it is compared with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Net:
    r"""What a network is made of.

    Parameters
    ----------
    middle : {None, "diagonal", "dense"}
        The factor between U and V: none, a vector D, or a square matrix.
    ball : {None, "frobenius", "columns"}
        What is kept in balls after each step: U and V as wholes, or each of their columns.
    nonnegative : bool
        Whether D is kept at zero or above.
    relu : bool
        Whether the hidden neurons pass a ReLU, after D.
    penalty : {None, "neurons", "diagonal"}
        What a penalty makes sparse: a neuron with its weights in U and V (group lasso), or an entry of D (lasso).
    """

    middle: str | None = "diagonal"
    ball: str | None = None
    nonnegative: bool = False
    relu: bool = False
    penalty: str | None = None


NETS = {
    "UV": Net(middle=None),
    "UV-ReLU": Net(middle=None, relu=True),
    "UDV": Net(ball="frobenius", nonnegative=True),
    "UDV-s": Net(ball="frobenius"),
    "UDV-v1": Net(ball="columns", nonnegative=True),
    "UDV-v2": Net(ball="columns"),
    "UDV-ReLU": Net(ball="frobenius", nonnegative=True, relu=True),
    "three factors": Net(),
    "three layers": Net(middle="dense"),
    "UV-ReLU, group lasso": Net(middle=None, relu=True, penalty="neurons"),
    "UDV-ReLU, lasso on D": Net(relu=True, penalty="diagonal"),
}
