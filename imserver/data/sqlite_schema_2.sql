-- What schema 2 added to schema 1.

ALTER TABLE conversations ADD COLUMN floor INTEGER NOT NULL DEFAULT 1;

ALTER TABLE conversations ADD COLUMN seen INTEGER;

ALTER TABLE robots ADD COLUMN revoked_ms INTEGER;

-- What was done to the deployment, by whom and when. Numbers are not used twice. An act's id keeps it from
-- being performed twice. `facts` is a JSON object.
CREATE TABLE acts (
  number   INTEGER PRIMARY KEY AUTOINCREMENT,
  id       TEXT    NOT NULL UNIQUE,
  at_ms    INTEGER NOT NULL,
  by_whom  TEXT    NOT NULL,
  kind     TEXT    NOT NULL,
  robot    TEXT,
  token_id TEXT,
  facts    TEXT    NOT NULL
) STRICT;

-- Tokens that were minted, or revoked, kept until they expire. `scopes` and `convs` are JSON arrays.
CREATE TABLE tokens (
  id         TEXT    PRIMARY KEY,
  kind       TEXT    NOT NULL,
  robot      TEXT    NOT NULL,
  scopes     TEXT    NOT NULL,
  convs      TEXT    NOT NULL,
  minted_ms  INTEGER NOT NULL,
  minted_by  TEXT    NOT NULL,
  expires_ms INTEGER NOT NULL,
  revoked_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_by_robot ON tokens (robot);

CREATE INDEX tokens_by_expiry ON tokens (expires_ms);

-- The last start of each device's program; `noted` grows with each that is noted.
CREATE TABLE boots (
  robot    TEXT    NOT NULL,
  device   TEXT    NOT NULL,
  number   INTEGER NOT NULL,
  instance TEXT    NOT NULL,
  noted    INTEGER NOT NULL,
  PRIMARY KEY (robot, device)
) STRICT, WITHOUT ROWID;

ALTER TABLE events ADD COLUMN sealed INTEGER;

ALTER TABLE events ADD COLUMN
  body_bytes INTEGER NOT NULL AS (length(body) - iif(sealed IS NULL, 0, 44)) VIRTUAL;

-- Files, finished (their blob has a digest) or on their way. Their bytes lie outside, in blobs; files of the
-- same content share one. `metadata` is what the owner said of it. What expires never has a null there.
CREATE TABLE files (
  id         TEXT PRIMARY KEY,
  owner      TEXT    NOT NULL,
  blob       TEXT    NOT NULL REFERENCES blobs,
  size       INTEGER NOT NULL,
  offset     INTEGER NOT NULL,
  metadata   BLOB    NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX files_by_owner ON files (owner);

CREATE INDEX files_by_blob ON files (blob);

CREATE INDEX files_by_expiry ON files (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE blobs (
  id     TEXT PRIMARY KEY,
  size   INTEGER NOT NULL,
  digest BLOB
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX blobs_by_digest ON blobs (digest, size) WHERE digest IS NOT NULL;

-- Blobs that belong to no file any more, until their bytes are gone.
CREATE TABLE dropped_blobs (
  id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Which events refer to which files, and so, who may see them. The first order asks for a file's
-- conversations, the second for what goes with events that are let go.
CREATE TABLE file_refs (
  file TEXT    NOT NULL REFERENCES files ON DELETE CASCADE,
  conv INTEGER NOT NULL REFERENCES conversations,
  seq  INTEGER NOT NULL,
  PRIMARY KEY (file, conv, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX file_refs_by_event ON file_refs (conv, seq);
