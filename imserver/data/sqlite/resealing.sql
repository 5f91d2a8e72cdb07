-- Bringing all bodies under the current key, and knowing which keys are in use.

-- name: meta
SELECT value FROM meta WHERE name = ?;

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: forget_meta
DELETE FROM meta WHERE name = ?;

-- name: rows_after
-- Events that follow :after in the order of the file, whatever they are sealed with.
SELECT key, name, sealed, packed
FROM events JOIN conversations ON id = conv
WHERE key > :after ORDER BY key LIMIT :limit;

-- name: put_packed
UPDATE events SET sealed = ?, packed = ? WHERE key = ?;

-- name: uses
-- How many bodies are sealed with each key; null are those that are not sealed. The key of files, which is
-- wrapped with one, counts as a body.
SELECT sealed, sum(bodies) FROM (
  SELECT sealed, count(*) AS bodies FROM events GROUP BY sealed
  UNION ALL SELECT CAST(value AS INTEGER), 1 FROM meta WHERE name = 'file_key_sealed'
) GROUP BY sealed;

-- name: sealed_files
-- How many files are sealed: their bytes, or what was said of them.
SELECT count(*) FROM files WHERE blob GLOB '*~s' OR substr(metadata, 1, 1) = x'00';

-- name: last
SELECT coalesce(max(key), 0) FROM events;
