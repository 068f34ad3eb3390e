"""The tables of a catalogue. Each row of each gets an echo: see `echoes`."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: leaf segments may still name a file that is gone
    path BLOB NOT NULL UNIQUE,       -- as the file system spells it; ours relative to the repository, which may move
    owned INTEGER NOT NULL,          -- 1: in the repository's own folder, 0: the user's
    cid BLOB NOT NULL,               -- of the whole file; of the first root for a CAR
    leaf_size INTEGER NOT NULL,      -- 0: a CAR, whose blocks have sizes of their own
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    hashed_at_ns INTEGER NOT NULL,
    framing BLOB NOT NULL,           -- of a CAR: sha2-256 of all its bytes that are not in the leaf index
    indexed INTEGER NOT NULL,        -- 0 until its leaves are in the leaf index: till then it is not there
    used_ns INTEGER NOT NULL         -- when somebody last came to rely on it: see `lease`
);
CREATE INDEX IF NOT EXISTS files_cid ON files (cid);
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, root BLOB NOT NULL, published_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pins (
    requestid TEXT PRIMARY KEY, root BLOB NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
    created_us INTEGER NOT NULL UNIQUE,  -- the Pinning Service API pages by it
    origins TEXT NOT NULL, meta TEXT NOT NULL, info TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS pins_root ON pins (root);
-- what a publish has packed already: a digest of everything that shapes the shard → the file that it became (position:
-- of a way to cut that went before any release; empty)
CREATE TABLE IF NOT EXISTS packed (key BLOB PRIMARY KEY, file INTEGER NOT NULL, position TEXT NOT NULL) WITHOUT ROWID;
-- how far work had come that may have been killed: see `journal`
CREATE TABLE IF NOT EXISTS journal (key BLOB PRIMARY KEY, state TEXT NOT NULL, used_ns INTEGER NOT NULL);
"""
