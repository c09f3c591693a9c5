"""The store: an immutable Parquet lake below one folder, its manifest, its quarantine.

lake = Lake.create(root)
with workspace(lake, memory_limit="2GB", threads=2) as room:
    outcome = write_delivery(room, files=…, extracts=…, source="contract", timezone="Asia/Shanghai", key=key)
Lake.open(root).register(con)   # a view per table
"""

from learnguard.store.identity import load_key
from learnguard.store.intake import FileFacts, Outcome, Progress, already_there, delivery_id, write_delivery
from learnguard.store.lake import QUARANTINE_COLUMNS, Lake, Part
from learnguard.store.manifest import DeliveryEntry, FileEntry, PartEntry
from learnguard.store.workspace import Workspace, workspace

__all__ = [
    "QUARANTINE_COLUMNS",
    "DeliveryEntry",
    "FileEntry",
    "FileFacts",
    "Lake",
    "Outcome",
    "Part",
    "PartEntry",
    "Progress",
    "Workspace",
    "already_there",
    "delivery_id",
    "load_key",
    "workspace",
    "write_delivery",
]
