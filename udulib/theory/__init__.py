"""What is proved, as checks: fixed points of UDU, and gradient descent for deep factorization."""
