"""The folder of a sweep's results: a file a result, its hash behind it."""

import hashlib

from udulib.files import write_whole

DIGEST = hashlib.sha256().digest_size


def kept_under(store, key):
    """The payload kept under ``key``, or None where there is none that is whole."""
    try:
        content = (store / f"{key}.pickle").read_bytes()
    except FileNotFoundError:
        return None
    payload, digest = content[:-DIGEST], content[-DIGEST:]
    return payload if hashlib.sha256(payload).digest() == digest else None


def keep(store, key, payload):
    """Put a payload in its place at once: whenever this is killed, `kept_under` sees all of it or nothing."""
    write_whole(store / f"{key}.pickle", payload + hashlib.sha256(payload).digest())
