#!/usr/bin/env python3
"""Verify an export of Solvent without Solvent: ``verify_export.py FOLDER [HEADS]``. Needs Python 3.9, nothing else.

From the exact bytes of every section it recomputes: the chain of digests of each pool, versions without gaps, each
key once, what every grant and pool has left after every entry, that nothing is overdrawn, and the heads in the
manifest; with HEADS, a file of heads that were published earlier, that history was not rewritten since. Then it
compares each line of the ledger with its entry. The first difference is printed, and ends it with 1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

KEYED = {2: 2, 5: 2, 6: 2, 9: 2, 10: 2, 16: 2, 28: 2}  # Kind of entry: place of its key.
BALANCE = {2: 4, 3: 4, 4: 4, 5: 4, 6: 4, 7: 4, 8: 4, 9: 5, 10: 7, 11: 4, 12: 4, 13: 3, 14: 3, 15: 3, 16: 4, 17: 6}
BALANCE.update({18: 3, 19: 3, 20: 3, 21: 3, 22: 4, 23: 2, 24: 3, 25: 3, 26: 4, 28: 4})
AMOUNT = {2: 3, 3: 3, 4: 3, 5: 3, 6: 3, 7: 3, 8: 3, 9: 4, 11: 3, 12: 3, 16: 3, 17: 5, 22: 3, 25: 2, 26: 3}
NAMES = ("pool", "first_version", "entries", "previous_digest", "digest", "section")


class Difference(Exception):
    pass


def unpack(data: bytes, at: int = 0) -> Any:
    """Read one value of MessagePack. Returns it, and where it ends."""
    head = data[at]
    at += 1
    if head <= 0x7F:
        return head, at
    if head >= 0xE0:
        return head - 256, at
    if head <= 0x8F:
        return unpack_map(data, at, head & 15)
    if head <= 0x9F:
        return unpack_list(data, at, head & 15)
    if head <= 0xBF:
        return data[at : at + (head & 31)].decode(), at + (head & 31)
    if head in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[head], at
    numbers = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
    numbers.update({0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"})
    if head in numbers:
        size = struct.calcsize(numbers[head])
        return struct.unpack_from(numbers[head], data, at)[0], at + size
    lengths = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
    if head not in lengths:
        raise Difference(f"byte {head:#x} at {at - 1} is not understood")
    length = int.from_bytes(data[at : at + lengths[head]], "big")
    at += lengths[head]
    if head <= 0xC6 or 0xD9 <= head <= 0xDB:
        found = data[at : at + length]
        return (found.decode() if head >= 0xD9 else found), at + length
    return (unpack_list if head <= 0xDD else unpack_map)(data, at, length)


def unpack_list(data: bytes, at: int, length: int) -> Any:
    found = []
    for _ in range(length):
        value, at = unpack(data, at)
        found.append(value)
    return found, at


def unpack_map(data: bytes, at: int, length: int) -> Any:
    pairs, at = unpack_list(data, at, 2 * length)
    return dict(zip(pairs[::2], pairs[1::2])), at  # noqa: B905 - "strict" is newer than Python 3.9


class Pool:
    def __init__(self) -> None:
        self.version, self.digest, self.scale, self.available = 0, bytes(16), 0, 0
        self.grants: dict[int, list[int]] = {}  # number: [left, held, spent, gone, amount]
        self.holds: Any = {}
        self.entries: Any = {}
        self.keys: set[str] = set()

    def happen(self, event: Any) -> None:
        self.version += 1
        kind = event[0]
        if type(kind) is not int or not 1 <= kind <= 28:
            raise Difference(f"an entry of kind {kind!r} is not understood")
        if (kind == 1) != (self.version == 1):
            raise Difference("a pool is opened once, first")
        key = event[KEYED[kind]] if kind in KEYED else None
        if key in self.keys:
            raise Difference(f"the key {key!r} is used a second time")
        self.keys |= set() if key is None else {key}
        if kind == 1:
            self.scale = range(10).index(event[2])  # Decimal places
        elif kind in (2, 17):
            amount = event[3] if kind == 2 else event[5]
            self.grants[self.version] = [0, 0, 0, 0, amount]
            if kind == 17 or event[7] is None or event[7] <= event[1]:
                self.move(self.version, None, 0, amount)
        elif kind == 3:
            self.move(event[2], None, 0, event[3])
        elif kind in (4, 11, 12, 22):
            self.move(event[2], None if kind == 11 and event[5] else 0, 3, event[3])
        elif kind in (5, 6, 16):
            self.all(event[5], 0, {5: 2, 6: 1, 16: 3}[kind], event[3])
            if kind == 6:
                self.holds[self.version] = event[5]
        elif kind in (7, 8):
            held = self.holds.pop(event[2], None)
            parts, returned = (event[5], event[7]) if kind == 7 else ([], event[5])
            if held is None or sum(part for _, part in held) != sum(part for _, part in parts + returned):
                raise Difference(f"hold h{event[2]} is settled, but was not open with that amount")
            self.all(parts, 1, 2)
            self.all(returned, 1, 0)
            if kind == 7:
                self.all(event[6], 0, 2)
        elif kind == 9:
            self.all(event[6], 2, 0, event[4])
        if kind in BALANCE and event[BALANCE[kind]] != self.available:
            raise Difference(f"it says that {event[BALANCE[kind]]} are left, {self.available} are")
        self.entries[self.version] = (event[AMOUNT[kind]] if kind in AMOUNT else 0, self.available, key)

    def all(self, parts: Any, source: int, target: int, amount: int | None = None) -> None:
        for grant, part in parts:
            self.move(grant, source, target, part)
        if amount is not None and amount != sum(part for _, part in parts):
            raise Difference(f"{amount} is not the sum of {parts}")

    def move(self, number: int, source: int | None, target: int, amount: int) -> None:
        grant = self.grants[number]
        if source is not None:
            grant[source] -= amount
        grant[target] += amount
        self.available += (target == 0) * amount - (source == 0) * amount
        if type(amount) is not int or amount < 0 or min(grant) < 0 or sum(grant[:4]) != grant[4]:
            raise Difference(f"grant g{number} is overdrawn or does not add up: {grant}")


def verify(folder: Path, published: dict[str, Any], place: list[str]) -> str:
    place[:] = ["manifest.json"]  # Where a difference is, whatever is raised.
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    pools: dict[str, Pool] = {}
    ends: set[Any] = set()
    sections = entries = 0
    for sections, line in enumerate((folder / "journal.jsonl").open(encoding="utf-8"), 1):
        place[:] = [f"journal.jsonl line {sections}"]
        said = json.loads(line)
        place += [f"frame {said['frame']}, pool {said['pool']}"]
        body = base64.b64decode(said["section"])
        (name, first, _, previous, events), end = unpack(body)
        pool = pools.setdefault(name, Pool())
        if (first, previous) != (pool.version + 1, pool.digest):
            raise Difference(f"it does not follow version {pool.version}")
        pool.digest = hashlib.blake2b(body, digest_size=16).digest()
        exact = (name, first, len(events), previous.hex(), pool.digest.hex(), base64.b64encode(body).decode())
        if end != len(body) or exact != tuple(said[each] for each in NAMES):
            raise Difference("the bytes are not those of the line")
        for event in events:
            place[2:] = [f"version {pool.version + 1}"]
            pool.happen(event)
        ends.add((name, pool.version, pool.digest.hex()))
    place[:] = ["manifest.json"]
    heads = {name: {"version": pool.version, "digest": pool.digest.hex()} for name, pool in pools.items()}
    if heads != manifest["heads"]["pools"] or sections != manifest["sections"]:
        wrong = [name for name, head in manifest["heads"]["pools"].items() if heads.get(name) != head]
        raise Difference(f"other heads, or other pools, than the journal has: {wrong[:5]}")
    lines = "".join(f"{name} {pool.version} {pool.digest.hex()}\n" for name, pool in sorted(pools.items()))
    if hashlib.blake2b(lines.encode(), digest_size=16).hexdigest() != manifest["heads"]["digest"]:
        raise Difference("the digest over all heads is another")
    for name, head in published.items():
        if (name, head["version"], head["digest"]) not in ends:
            raise Difference(f"of pool {name}, version {head['version']} is not the one that was published")
    for entries, line in enumerate((folder / "ledger.jsonl").open(encoding="utf-8"), 1):
        place[:] = [f"ledger.jsonl line {entries}"]
        said = json.loads(line)
        place += [f"pool {said['pool']}"]
        amount, balance, key = pools[said["pool"]].entries.pop(said["version"])
        unit = Decimal(1).scaleb(-pools[said["pool"]].scale)
        if (Decimal(said["amount"]), Decimal(said["balance"]), said["key"]) != (amount * unit, balance * unit, key):
            raise Difference(f"version {said['version']} is another")
    place[:] = ["ledger.jsonl"]
    for name, pool in pools.items():
        if pool.entries and not name.startswith("%"):  # "%": no pool
            raise Difference(f"entries of pool {name} are missing")
    return f"{len(pools)} pools, {sections} sections, {entries} entries"


if __name__ == "__main__":
    place = ["the heads"]
    try:
        published = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))["pools"] if sys.argv[2:] else {}
        print("verified:", verify(Path(sys.argv[1]), published, place))  # noqa: T201 - a script
    except Exception as found:  # noqa: BLE001 - hostile bytes may end in any: each is a difference
        why = str(found) if isinstance(found, Difference) else f"{type(found).__name__}: {found}"
        # Print one line of printable characters, whatever the bytes are.
        sys.exit(f"DIFFERENCE: {', '.join(place)}: {why}".encode("unicode_escape").decode()[:1000])
