"""Adapters of notebook 07: two tasks on MiniLM-L6, and causal language models."""
