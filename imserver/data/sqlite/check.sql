-- What is looked for in a store. Each statement answers (count, JSON array of the first witnesses) and goes
-- once over what it looks at, in the order it lies in the file: linear on a log of any length.

-- name: totals
SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM events);

-- name: gap
-- Neighbours in the file: of one log they must follow each other, and each log begins at its floor.
SELECT count(*),
  json_group_array(
    coalesce(name, 'conversation ' || (key >> 38)) || ': ' || before || ' is followed by ' || seq)
  FILTER (WHERE nth <= :limit)
FROM (
  SELECT key, seq, iif(last >> 38 = key >> 38, last & 274877906943, floor - 1) AS before,
    row_number() OVER () AS nth
  FROM (SELECT key, seq, lag(key, 1, 0) OVER (ORDER BY key) AS last FROM events)
  LEFT JOIN (SELECT id, floor FROM conversations) ON id = key >> 38
  WHERE key <> last + 1 AND NOT (seq = coalesce(floor, 1) AND last >> 38 <> key >> 38)
) LEFT JOIN conversations ON id = key >> 38;

-- name: duplicate_cid
-- Along the unique index; that the index tells the truth about the table is the integrity check's business.
SELECT count(*),
  json_group_array(name || ': cid ' || cid || ' of ' || sender || ' stands ' || times || ' times')
    FILTER (WHERE nth <= :limit)
FROM (
  SELECT conv, sender, cid, times, row_number() OVER () AS nth FROM (
    SELECT conv, sender, cid, count(*) AS times FROM events INDEXED BY events_by_cid
    GROUP BY cid, sender, conv HAVING count(*) > 1
  )
) LEFT JOIN conversations ON id = conv;

-- name: not_sealed
-- Counts only where the store says that all bodies are sealed.
SELECT count(*), json_group_array(name || ': ' || seq) FILTER (WHERE nth <= :limit)
FROM (
  SELECT conv, seq, row_number() OVER () AS nth FROM events
  WHERE sealed IS NULL AND (SELECT value FROM meta WHERE name = 'sealed_with') > ''
    AND (SELECT value FROM meta WHERE name = 'sealed_with') NOT LIKE '%plain%'
) LEFT JOIN conversations ON id = conv;

-- name: rows
SELECT coalesce(name, 'conversation ' || conv), seq, sender, cid, amends, sealed, body_bytes, packed
FROM events LEFT JOIN conversations ON id = conv ORDER BY key;

-- name: event_without_conversation
SELECT count(*), json_group_array('event ' || key) FILTER (WHERE nth <= :limit)
FROM (
  SELECT key, row_number() OVER () AS nth
  FROM (SELECT DISTINCT conv FROM events) AS logs
  JOIN events ON key = (
    SELECT min(key) FROM events WHERE key > logs.conv << 38 AND key < (logs.conv + 1) << 38)
  WHERE logs.conv NOT IN (SELECT id FROM conversations)
);

-- name: conversation_without_events
SELECT count(*), json_group_array(name) FILTER (WHERE nth <= :limit)
FROM (
  SELECT name, row_number() OVER () AS nth FROM conversations
  WHERE NOT EXISTS (SELECT 1 FROM events WHERE key > id << 38 AND key < (id + 1) << 38)
);

-- name: cursor_beyond_head
SELECT count(*),
  json_group_array(coalesce(name, 'conversation ' || conv) || ': ' || robot || '/' || device || ' is at '
    || seq || ', the head at ' || head) FILTER (WHERE nth <= :limit)
FROM (
  SELECT *, row_number() OVER () AS nth FROM (
    SELECT cursors.conv, robot, device, seq, name,
      coalesce(
        (SELECT key - (cursors.conv << 38) FROM events
         WHERE key > cursors.conv << 38 AND key < (cursors.conv + 1) << 38
         ORDER BY key DESC LIMIT 1), 0) AS head
    FROM cursors LEFT JOIN conversations ON id = cursors.conv
  )
  WHERE seq > head OR seq < 0
);

-- name: member_of_ended_group
SELECT count(*),
  json_group_array(coalesce(name, 'conversation ' || conv) || ': ' || robot) FILTER (WHERE nth <= :limit)
FROM (
  SELECT conv, robot, name, row_number() OVER () AS nth
  FROM members LEFT JOIN conversations ON id = conv
  WHERE id IS NULL OR deleted
);

-- name: unregistered_member
SELECT count(*),
  json_group_array(coalesce(conversations.name, 'conversation ' || conv) || ': ' || robot)
    FILTER (WHERE nth <= :limit)
FROM (
  SELECT conv, robot, row_number() OVER () AS nth FROM members
  WHERE robot NOT IN (SELECT name FROM robots)
) LEFT JOIN conversations ON id = conv;

-- name: file_ref_without_event
SELECT count(*), json_group_array(file || ' by ' || coalesce(name, 'conversation ' || conv) || ' ' || seq)
  FILTER (WHERE nth <= :limit)
FROM (
  SELECT file, conv, seq, row_number() OVER () AS nth FROM file_refs
  WHERE NOT EXISTS (SELECT 1 FROM events WHERE key = conv << 38 | file_refs.seq)
) LEFT JOIN conversations ON id = conv;

-- name: blob_without_file
SELECT count(*), json_group_array(id) FILTER (WHERE nth <= :limit)
FROM (
  SELECT id, row_number() OVER () AS nth FROM blobs
  WHERE NOT EXISTS (SELECT 1 FROM files WHERE blob = blobs.id)
);
