"""Words that everything about a manifest shares."""

from __future__ import annotations

Row = dict[str, object]  # one drawing in the manifest; its columns are those of sample/parts.py
ACCEPTED, REJECTED, GIVEN_UP = "accepted", "rejected", "given up"  # rejected: drawn again; given up: at the last try
