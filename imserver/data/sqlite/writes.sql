-- What the one writer does. Lists come in as JSON, so that one statement carries any number of rows; only
-- events, the hot path, are bound value by value, many rows to a statement.

-- name: log
-- A conversation as the next event finds it.
SELECT id, epoch, deleted, seen,
  coalesce(
    (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
     ORDER BY key DESC LIMIT 1), 0)
FROM conversations WHERE name = ?;

-- name: add_conversation
INSERT INTO conversations (name, epoch, open, created_ms) VALUES (?, ?, ?, ?);

-- name: add_events
-- Ends with one group of six parameters for each row. OR ROLLBACK: a cid that is stored already undoes the
-- whole transaction, which needs no journal of the statement as ABORT does, a third of its time.
INSERT OR ROLLBACK INTO events (key, sender, cid, amends, body_bytes, packed) VALUES

-- name: add_sealed_events
-- The same with groups of seven, the last but one being the number of the key that seals the body.
INSERT OR ROLLBACK INTO events (key, sender, cid, amends, body_bytes, sealed, packed) VALUES

-- name: stored_already
-- The parameter is a JSON array of [conv, sender, cid]; the answer, those that are stored, and their events.
SELECT
  json_group_array(json_array(conv, sender, cid)), CAST(coalesce(group_concat(packed, ''), '') AS BLOB)
FROM json_each(?) AS asked CROSS JOIN events
WHERE sender = asked.value ->> 1 AND cid = asked.value ->> 2 AND conv = asked.value ->> 0;

-- name: halt
-- Answers a row if :seen is beyond the head.
UPDATE conversations SET seen = max(coalesce(seen, 0), :seen)
WHERE name = :conv AND :seen > coalesce(
  (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
   ORDER BY key DESC LIMIT 1), 0)
RETURNING seen;

-- name: begin_epoch
UPDATE conversations SET epoch = ?, seen = NULL;

-- name: cut_cursors
-- Brings cursors beyond the head of their log back to it.
UPDATE cursors SET seq = head
FROM (
  SELECT id, coalesce(
    (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
     ORDER BY key DESC LIMIT 1), 0) AS head
  FROM conversations
) WHERE id = conv AND seq > head;

-- name: halted
SELECT count(*) FROM conversations WHERE seen IS NOT NULL;

-- name: floor
SELECT id << 38, floor FROM conversations WHERE name = ?;

-- name: end_of_trim
-- How far one step goes: the last of the :limit oldest events whose bodies, summed up, take at most :bytes_max
-- (one at least), below :below and below the head.
SELECT max(key) FROM (
  SELECT key, row_number() OVER so_far AS row, sum(bytes) OVER so_far AS bytes
  FROM (
    SELECT key, body_bytes AS bytes FROM events
    WHERE key > :base AND key < min(:base + :below, (
      SELECT max(key) FROM events WHERE key > :base AND key < :base + (1 << 38)))
    ORDER BY key LIMIT :limit
  )
  WINDOW so_far AS (ORDER BY key ROWS UNBOUNDED PRECEDING)
) WHERE bytes <= :bytes_max OR row = 1;

-- name: delete_events
DELETE FROM events WHERE key > ? AND key <= ?;

-- name: expire_files
-- Files whose last reference is among those below a floor.
UPDATE files SET expires_ms = 0
WHERE id IN (SELECT file FROM file_refs WHERE conv = :conv AND seq < :floor)
  AND NOT EXISTS (
    SELECT 1 FROM file_refs WHERE file = id AND NOT (conv = :conv AND seq < :floor));

-- name: delete_refs
DELETE FROM file_refs WHERE conv = :conv AND seq < :floor;

-- name: refer
INSERT INTO file_refs (file, conv, seq) SELECT id, ?2, ?3 FROM files WHERE id = ?1;

-- name: raise_floor
UPDATE conversations SET floor = ? WHERE name = ?;

-- name: end_conversation
UPDATE conversations SET deleted = 1 WHERE id = ?;

-- name: remove_all_members
DELETE FROM members WHERE conv = ?;

-- name: put_members
-- The second parameter is a JSON object {robot: role}. Who is a member already keeps `since`.
INSERT INTO members (conv, robot, role, since)
SELECT ?1, key, value, ?3 FROM json_each(?2) WHERE true
ON CONFLICT DO UPDATE SET role = excluded.role;

-- name: remove_members
DELETE FROM members WHERE conv = ? AND robot IN (SELECT value FROM json_each(?));

-- name: move_cursors
-- The parameter is a JSON array of [conv, robot, device, seq].
INSERT INTO cursors (conv, robot, device, seq)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq;

-- name: robot
SELECT name, public_key, registered_ms, revoked_ms FROM robots WHERE name = ?;

-- name: put_robot
-- A robot that is known keeps the time it was registered at, and when it was revoked.
INSERT INTO robots (name, public_key, registered_ms) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET public_key = excluded.public_key
RETURNING name, public_key, registered_ms, revoked_ms;

-- name: is_spent
SELECT 1 FROM spent_tokens WHERE id = ?;

-- name: is_revoked
SELECT 1 FROM tokens WHERE id = ? AND revoked_ms IS NOT NULL;

-- name: spend
INSERT INTO spent_tokens (id, expires_ms) VALUES (?, ?);

-- name: forget_expired
DELETE FROM spent_tokens WHERE expires_ms < ?;

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: meta
SELECT value FROM meta WHERE name = ?;
