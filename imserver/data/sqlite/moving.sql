-- Rows as they move from one engine to another, and how they are put into an empty store. Conversations go by
-- their names, in whose order they come, and their events.

-- name: read_robots
SELECT name, public_key, registered_ms, revoked_ms FROM robots;

-- name: read_spent_tokens
SELECT id, expires_ms FROM spent_tokens;

-- name: read_acts
SELECT number, id, at_ms, by_whom, kind, robot, token_id, facts FROM acts ORDER BY number;

-- name: read_tokens
SELECT id, kind, robot, scopes, convs, minted_ms, minted_by, expires_ms, revoked_ms FROM tokens;

-- name: read_boots
SELECT robot, device, number, instance, noted FROM boots ORDER BY noted;

-- name: read_conversations
SELECT name, epoch, open, deleted, created_ms, floor, seen,
  coalesce(
    (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
     ORDER BY key DESC LIMIT 1), 0)
FROM conversations ORDER BY name;

-- name: read_members
SELECT name, robot, role, since FROM members JOIN conversations ON id = conv;

-- name: read_cursors
SELECT name, robot, device, seq FROM cursors JOIN conversations ON id = conv;

-- name: read_events
SELECT name, sealed, packed
FROM conversations CROSS JOIN events ON key > id << 38 AND key < (id + 1) << 38
ORDER BY name, key;

-- name: read_file_refs
SELECT file, name, seq FROM file_refs JOIN conversations ON id = conv;

-- name: read_files
SELECT files.id, owner, blob, files.size, offset, metadata, created_ms, expires_ms, digest
FROM files JOIN blobs ON blobs.id = blob ORDER BY files.id;

-- name: put_robots
INSERT INTO robots (name, public_key, registered_ms, revoked_ms) VALUES (?, ?, ?, ?);

-- name: put_spent_tokens
INSERT INTO spent_tokens (id, expires_ms) VALUES (?, ?);

-- name: put_acts
INSERT INTO acts (number, id, at_ms, by_whom, kind, robot, token_id, facts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_tokens
INSERT INTO tokens (id, kind, robot, scopes, convs, minted_ms, minted_by, expires_ms, revoked_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_boots
INSERT INTO boots (robot, device, number, instance, noted) VALUES (?, ?, ?, ?, ?);

-- name: put_conversations
-- The head, the last value, follows from the events.
INSERT INTO conversations (name, epoch, open, deleted, created_ms, floor, seen)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE ?8 >= 0;

-- name: put_members
INSERT INTO members (conv, robot, role, since)
VALUES ((SELECT id FROM conversations WHERE name = ?1), ?2, ?3, ?4);

-- name: put_cursors
INSERT INTO cursors (conv, robot, device, seq)
VALUES ((SELECT id FROM conversations WHERE name = ?1), ?2, ?3, ?4);

-- name: put_events
INSERT INTO events (key, sender, cid, amends, body_bytes, sealed, packed)
VALUES (((SELECT id FROM conversations WHERE name = ?1) << 38) + ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: put_file_refs
-- Elsewhere a reference may outlive its file.
INSERT INTO file_refs (file, conv, seq)
SELECT files.id, conversations.id, ?3 FROM files, conversations WHERE files.id = ?1 AND name = ?2;

-- name: epoch
SELECT value FROM meta WHERE name = 'epoch';

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: file_key
SELECT value FROM meta WHERE name = 'file_key';

-- name: size
SELECT (SELECT count(*) FROM events), (SELECT coalesce(sum(offset), 0) FROM files);

-- name: blob_of_content
SELECT id FROM blobs WHERE digest = ? AND size = ?;

-- name: put_blob
INSERT INTO blobs (id, size, digest) VALUES (?, ?, ?);

-- name: put_file
INSERT INTO files (id, owner, blob, size, offset, metadata, created_ms, expires_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);
