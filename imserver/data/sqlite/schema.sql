-- The tables of an embedded store. Rows of text, numbers and events in MessagePack: readable with any
-- SQLite shell. Every table is strict, so that a value of a wrong type is refused where it is written.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A conversation is never deleted: `deleted` marks a group that ended, and its name stays taken.
-- The limit of the id is the width that `events.key` leaves for it. `floor` is the first seq that is kept.
-- `seen` is null, or the seq that a robot has seen beyond the head: then the end of the log is lost.
CREATE TABLE conversations (
  id         INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 33554431),
  name       TEXT    NOT NULL UNIQUE,
  epoch      TEXT    NOT NULL,
  open       INTEGER NOT NULL,
  deleted    INTEGER NOT NULL DEFAULT 0,
  created_ms INTEGER NOT NULL,
  floor      INTEGER NOT NULL DEFAULT 1,
  seen       INTEGER
) STRICT;

-- The logs. The key holds conversation and seq in one integer, key = conv * 2^38 + seq, so that a log lies
-- together in the file, in order, and a row is one entry of one tree: against PRIMARY KEY (conv, seq) this
-- writes a tenth less for small bodies and half for those between 1 and 4 KiB. A log cannot outgrow its
-- 2^38 places: the file would have passed SQLite's limit, 2^32 pages, before.
--
-- The unique index is what makes a send exactly once. The cid comes first in it: cids that sort by time, as
-- the SDK makes them, then all go to the end of the index, and a commit writes a few of its pages, however
-- many robots it serves and however long the logs are. With the sender first it was a page for each robot.
--
-- `packed` is the event as it goes over the wire: a page of a log is what its rows hold, one after the other.
-- Beside it stands only what is looked for. It is the last column, so that SQLite reads nothing of it to tell
-- how large bodies are.
--
-- `amends` is the seq of the message that an edit changes, that of a redaction below zero, and null for any other
-- event. `sealed` is null where the body stands as it is, or the number of the key that it is sealed with.
-- `body_bytes` is the size of the body that was sent.
CREATE TABLE events (
  key    INTEGER PRIMARY KEY,
  conv   INTEGER NOT NULL AS (key >> 38) VIRTUAL,
  seq    INTEGER NOT NULL AS (key & 274877906943) VIRTUAL,
  sender TEXT    NOT NULL,
  cid    TEXT    NOT NULL,
  amends INTEGER,
  sealed INTEGER,
  body_bytes INTEGER NOT NULL,
  packed BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_by_cid ON events (cid, sender, conv);

CREATE INDEX events_that_amend ON events (conv, amends) WHERE amends IS NOT NULL;

CREATE TABLE members (
  conv  INTEGER NOT NULL REFERENCES conversations,
  robot TEXT    NOT NULL,
  role  TEXT    NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (conv, robot)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_robot ON members (robot);

-- How far each device has come. Its order serves both questions: what has this robot acked here, and
-- what has everybody acked here.
CREATE TABLE cursors (
  conv   INTEGER NOT NULL REFERENCES conversations,
  robot  TEXT    NOT NULL,
  device TEXT    NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (conv, robot, device)
) STRICT, WITHOUT ROWID;

-- A robot that was revoked has no key, until it is enrolled again; `revoked_ms` stays.
CREATE TABLE robots (
  name          TEXT PRIMARY KEY,
  public_key    BLOB,
  registered_ms INTEGER NOT NULL,
  revoked_ms    INTEGER
) STRICT, WITHOUT ROWID;

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

-- Enrolment tokens that were used, kept until they would have expired anyway.
CREATE TABLE spent_tokens (
  id         TEXT PRIMARY KEY,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_tokens_by_expiry ON spent_tokens (expires_ms);

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
