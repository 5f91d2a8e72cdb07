-- Which bytes there should be beside a database.

-- name: blobs
SELECT id, size, digest IS NOT NULL FROM blobs UNION ALL SELECT id, 0, 0 FROM dropped_blobs;

-- name: forget_files_of
DELETE FROM files WHERE blob = ?;

-- name: forget_unfinished
DELETE FROM files WHERE blob IN (SELECT id FROM blobs WHERE digest IS NULL);

-- name: forget_blobs
DELETE FROM blobs WHERE id NOT IN (SELECT blob FROM files);

-- name: forget_dropped
DELETE FROM dropped_blobs;
