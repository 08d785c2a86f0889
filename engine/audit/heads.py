"""The heads of the chains: what to publish so that nobody can rewrite history later, not even its owner.

Each section of a pool carries the digest of the section before it, so the newest digest stands for the pool's whole
history. Anyone with an old head can compare it: the section that ends at that version must still have that digest,
however long the history has become since.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from solvent.engine.journal.frames import DIGEST_BYTES, Head
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import parse_canonical
from solvent.engine.values.readable import Readable

FORMAT: Final = 1


class PublishedHead(Readable, msgspec.Struct, frozen=True):
    """The end of a pool's chain: its version, and the digest of its last section in hexadecimal."""

    version: int
    digest: str


class PublishedHeads(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """The ends of the chains of some pools, by their canonical names, as of a frame."""

    format: int = FORMAT
    frame: int
    pools: dict[str, PublishedHead]
    digest: str
    """The digest over all heads: one line to print on an invoice, or to post where it cannot be changed."""


def publish_heads(heads: Mapping[str, Head], frame: int, *, customer: str | None = None) -> PublishedHeads:
    """Return the heads to publish, so that any later rewriting of history is detected.

    Args:
        heads: The ends of all chains by canonical name, from ``Verification.heads``.
        frame: The last frame that they cover, from ``Verification.frames``.
        customer: The customer whose pools to publish. Default: all pools.

    Returns:
        The heads with one digest over all of them. As JSON in a file, ``read_heads`` reads them back.
    """
    pools = {
        name: PublishedHead(head.version, head.digest.hex())
        for name, head in sorted(heads.items())
        if customer is None or parse_canonical(name).customer == customer
    }
    return PublishedHeads(frame=frame, pools=pools, digest=digest_of_heads(pools))


def digest_of_heads(pools: Mapping[str, PublishedHead]) -> str:
    """Return the BLAKE2b of 16 bytes over a line "pool version digest" for each pool, sorted by name."""
    lines = "".join(f"{name} {head.version} {head.digest}\n" for name, head in sorted(pools.items()))
    return blake2b(lines.encode(), digest_size=DIGEST_BYTES).hexdigest()


def read_heads(path: Path) -> PublishedHeads:
    """Read published heads from the JSON file at ``path``.

    Raises:
        InvalidRequest: The file cannot be read, is not a file of heads, or was changed since.
    """
    try:
        heads = msgspec.json.decode(path.read_bytes(), type=PublishedHeads)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("against", f"a file of published heads ({error})", got=str(path)) from None
    if heads.format != FORMAT or heads.digest != digest_of_heads(heads.pools):
        raise InvalidRequest("against", "a file of published heads that was not changed", got=str(path))
    return heads
