-- Rows as they move from one engine to another, and how they are put into an empty store. Conversations go by
-- their names.

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
SELECT (SELECT name FROM conversations WHERE id = conv), seq, ts, sender, cid, kind, ref, body
FROM events ORDER BY key;

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
INSERT INTO events (key, ts, sender, cid, kind, ref, body)
VALUES (((SELECT id FROM conversations WHERE name = ?1) << 38) + ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: epoch
SELECT value FROM meta WHERE name = 'epoch';

-- name: put_epoch
UPDATE meta SET value = ? WHERE name = 'epoch';

-- name: count_events
SELECT count(*) FROM events;

-- name: any_file
SELECT 1 FROM files LIMIT 1;

-- name: any_sealed
SELECT 1 FROM events WHERE sealed IS NOT NULL LIMIT 1;
