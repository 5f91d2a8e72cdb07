-- The whole of a store, row by row, for who judges it from outside.

-- name: conversations
SELECT id, name, epoch, floor FROM conversations;

-- name: events
-- In the order of the file: each log together, in order of seq.
SELECT conv, sealed, packed FROM events ORDER BY key;

-- name: cursors
SELECT robot, device, coalesce(name, 'conversation ' || conv), seq
FROM cursors LEFT JOIN conversations ON id = conv;
