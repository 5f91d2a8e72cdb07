-- The catalogue of files. A file is finished if its blob has a digest.

-- name: create_blob
INSERT INTO blobs (id, size) VALUES (?, ?);

-- name: create_file
INSERT INTO files (id, owner, blob, size, offset, metadata, created_ms, expires_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: usage
SELECT coalesce(sum(files.size), 0), count(*), count(*) FILTER (WHERE digest IS NULL)
FROM files JOIN blobs ON blobs.id = blob WHERE owner = ?;

-- name: find
SELECT files.id, owner, blob, files.size, offset, metadata, created_ms, expires_ms, digest
FROM files JOIN blobs ON blobs.id = blob WHERE files.id = :file;

-- name: owned
-- One answer in JSON, which has no bytes: these come in hex.
SELECT json_group_array(json_array(
  id, owner, blob, size, offset, hex(metadata), created_ms, expires_ms, hex(digest)))
FROM (
  SELECT files.id, owner, blob, files.size, offset, metadata, created_ms, expires_ms, digest
  FROM files JOIN blobs ON blobs.id = blob
  WHERE owner = :owner AND files.id > :after ORDER BY files.id LIMIT :limit
);

-- name: move_offset
UPDATE files SET offset = :offset, expires_ms = :expires_ms
WHERE id = :file AND EXISTS (SELECT 1 FROM blobs WHERE blobs.id = blob AND digest IS NULL)
RETURNING id;

-- name: blob_of_content
SELECT id FROM blobs WHERE digest = ? AND size = ?;

-- name: set_digest
UPDATE blobs SET digest = ? WHERE id = ?;

-- name: finish
UPDATE files SET blob = ?, offset = size, expires_ms = ? WHERE id = ?;

-- name: remove
DELETE FROM files WHERE id = ? RETURNING blob;

-- name: due
SELECT id FROM files WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?;

-- name: note_dropped
-- Answers a row if no file has the blob.
INSERT INTO dropped_blobs (id)
SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM files WHERE blob = ?1)
RETURNING id;

-- name: delete_blob
DELETE FROM blobs WHERE id = ?;

-- name: dropped
SELECT json_group_array(id) FROM (SELECT id FROM dropped_blobs ORDER BY id LIMIT :limit);

-- name: forget
DELETE FROM dropped_blobs WHERE id = ?;

-- name: shared_in
SELECT json_group_array(name) FROM (
  SELECT DISTINCT name FROM file_refs
  JOIN members USING (conv) JOIN conversations ON conversations.id = conv
  WHERE file = :file AND robot = :robot AND name > :after ORDER BY name LIMIT :limit
);

-- name: shared_in_groups
SELECT json_group_array(name) FROM (
  SELECT DISTINCT name FROM file_refs JOIN conversations ON conversations.id = conv
  WHERE file = :file AND NOT deleted AND name GLOB 'g/*' AND name > :after ORDER BY name LIMIT :limit
);

-- name: file_key
SELECT value FROM meta WHERE name = 'file_key';

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value;
