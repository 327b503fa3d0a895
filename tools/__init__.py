"""What runs the notebooks and builds the book. Nothing in udulib, the notebooks or the book knows this package."""
