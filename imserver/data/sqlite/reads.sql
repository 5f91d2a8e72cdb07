-- What the store is asked. Every answer is one row: its lists are gathered into JSON, its events into one blob,
-- and before it stand how many they are and the first one's seq; see rows.py.

-- name: page_after
-- The events that follow :after, at most :limit, until their bodies exceed :bytes_max; one at least. Keys of a
-- log have no gaps, so that where a page ends at most is known beforehand. How far one reaches whose bodies are too
-- large is summed up event by event. Besides: the seq before the page, its last, and where there are none, the seq of
-- the first one that is further away, which only a damaged log has.
WITH
  log AS (
    SELECT base, base + max(:after, floor - 1) AS before, base + max(:after, floor - 1) + :limit AS furthest
    FROM (SELECT id << 38 AS base, floor FROM conversations WHERE name = :conv)
  ),
  sums AS (
    SELECT key, row_number() OVER so_far AS row, sum(body_bytes) OVER so_far AS bytes
    FROM log CROSS JOIN events WHERE key > before AND key <= furthest
    WINDOW so_far AS (ORDER BY key ROWS UNBOUNDED PRECEDING)
  ),
  span AS (
    SELECT before,
      iif(
        (SELECT sum(body_bytes) FROM events WHERE key > before AND key <= furthest) <= :bytes_max, furthest,
        (SELECT max(key) FROM sums WHERE bytes <= :bytes_max OR row = 1)) AS last
    FROM log
  )
SELECT count(*), count(sealed), (SELECT before FROM log) & 274877906943, max(key) & 274877906943,
  iif(count(*) = 0 AND :limit > 0,
    (SELECT min(key) & 274877906943 FROM log CROSS JOIN events
     WHERE key > before AND key < base + 274877906944), NULL),
  CAST(coalesce(group_concat(packed, ''), '') AS BLOB)
FROM span CROSS JOIN events WHERE key > before AND key <= last;

-- name: page_before
-- The same backwards: the last :limit events before :before, counted in bytes from the newest. Besides, where the one
-- before :before is not there although later ones are: the log's floor.
WITH
  log AS (SELECT id << 38 AS base, floor FROM conversations WHERE name = :conv),
  sizes AS NOT MATERIALIZED (
    SELECT key, body_bytes AS bytes FROM log CROSS JOIN events
    WHERE key > base AND key < base + :before
    ORDER BY key DESC LIMIT :limit
  ),
  sums AS (
    SELECT key, row_number() OVER so_far AS row, sum(bytes) OVER so_far AS bytes FROM sizes
    WINDOW so_far AS (ORDER BY key DESC ROWS UNBOUNDED PRECEDING)
  ),
  span AS (
    SELECT
      iif(sum(bytes) <= :bytes_max, min(key),
        (SELECT min(key) FROM sums WHERE bytes <= :bytes_max OR row = 1)) AS first,
      max(key) AS last
    FROM sizes
  )
SELECT count(*),
  iif(coalesce(max(key) & 274877906943, 0) = :before - 1 OR :limit = 0, NULL,
    (SELECT floor FROM log
     WHERE EXISTS (SELECT 1 FROM events WHERE key >= base + :before AND key < base + 274877906944))),
  CAST(coalesce(group_concat(packed, ''), '') AS BLOB)
FROM span CROSS JOIN events WHERE key BETWEEN first AND last;

-- name: amendments
-- For each seq of the JSON array :seqs that was amended up to :until, the deciding event; its `ref` says what it
-- amends.
WITH
  log AS (SELECT id, (id << 38) + :until AS last FROM conversations WHERE name = :conv),
  deciding AS (
    SELECT coalesce(
      (SELECT max(key) FROM events WHERE conv = log.id AND amends = -asked.value AND key <= last),
      (SELECT max(key) FROM events WHERE conv = log.id AND amends = asked.value AND key <= last)
    ) AS key
    FROM log CROSS JOIN json_each(:seqs) AS asked
  )
SELECT count(*), CAST(coalesce(group_concat(packed, ''), '') AS BLOB)
FROM deciding CROSS JOIN events USING (key);

-- name: first_kept
-- Each rule names a seq, null where it keeps everything; the highest counts. The sizes are summed up from the
-- newest event backwards. How old events are stands in them alone: `page_after` goes through the old ones.
WITH
  log AS (
    SELECT id << 38 AS base, floor,
      coalesce(
        (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
         ORDER BY key DESC LIMIT 1), 0) AS head
    FROM conversations WHERE name = :conv
  ),
  rules AS (
    SELECT
      head - :events + 1 AS by_count,
      iif(:body_bytes IS NULL, NULL, coalesce(
        (SELECT min(key) - base FROM (
           SELECT key, sum(body_bytes) OVER (ORDER BY key DESC ROWS UNBOUNDED PRECEDING) AS bytes
           FROM events WHERE key >= base + floor AND key <= base + head)
         WHERE bytes <= :body_bytes), head)) AS by_size
    FROM log
  )
SELECT min(head, max(floor, coalesce(by_count, 0), coalesce(by_size, 0))), floor, head
FROM log, rules;

-- name: robot
SELECT json_object('name', name, 'public_key', hex(public_key), 'registered_ms', registered_ms,
  'revoked_ms', revoked_ms)
FROM robots WHERE name = :name;

-- name: robots
SELECT json_group_array(
  json_object('name', name, 'public_key', hex(public_key), 'registered_ms', registered_ms,
    'revoked_ms', revoked_ms))
FROM (SELECT * FROM robots WHERE name > :after ORDER BY name LIMIT :limit);

-- name: known_robots
-- Those of the JSON array :names that are registered.
SELECT json_group_array(name) FROM robots WHERE name IN (SELECT value FROM json_each(:names));

-- name: conversation
SELECT json_object(
  'conv', name,
  'epoch', epoch,
  'head', coalesce(
    (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
     ORDER BY key DESC LIMIT 1), 0),
  'open', json(iif(open, 'true', 'false')),
  'deleted', json(iif(deleted, 'true', 'false')),
  'members', json((
    SELECT json_group_object(robot, json_object('role', role, 'since', since))
    FROM members WHERE conv = conversations.id)),
  'floor', floor)
FROM conversations WHERE name = :conv;

-- name: memberships
-- Every conversation of :robot, with the cursor of :device and the furthest of all its devices.
SELECT json_group_array(json_object(
  'conv', name, 'epoch', epoch, 'head', head, 'role', role, 'since', since,
  'device_acked', device_acked, 'robot_acked', robot_acked, 'floor', floor))
FROM (
  SELECT name, epoch, role, since, floor,
    coalesce(
      (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
       ORDER BY key DESC LIMIT 1), 0) AS head,
    (SELECT seq FROM cursors WHERE cursors.conv = id AND robot = :robot AND device = :device)
      AS device_acked,
    (SELECT max(seq) FROM cursors WHERE cursors.conv = id AND robot = :robot) AS robot_acked
  FROM members JOIN conversations ON id = conv
  WHERE robot = :robot
  ORDER BY name
);

-- name: groups
-- Groups that have not ended, by name ('0' is the character after '/').
SELECT json_group_array(json_object('conv', name, 'role', role, 'members', members, 'head', head))
FROM (
  SELECT name, NULL AS role,
    (SELECT count(*) FROM members WHERE conv = id) AS members,
    coalesce(
      (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
       ORDER BY key DESC LIMIT 1), 0) AS head
  FROM conversations
  WHERE name > max(:after, 'g/') AND name < 'g0' AND NOT deleted
  ORDER BY name LIMIT :limit
);

-- name: groups_of_member
-- The groups of :member, by name.
SELECT json_group_array(json_object('conv', name, 'role', role, 'members', members, 'head', head))
FROM (
  SELECT name, role,
    (SELECT count(*) FROM members WHERE conv = id) AS members,
    coalesce(
      (SELECT key - (id << 38) FROM events WHERE key > id << 38 AND key < (id + 1) << 38
       ORDER BY key DESC LIMIT 1), 0) AS head
  FROM members AS own JOIN conversations ON id = own.conv
  WHERE own.robot = :member AND name > max(:after, 'g/') AND name < 'g0' AND NOT deleted
  ORDER BY name LIMIT :limit
);

-- name: acked
-- For each robot that acked in :conv, the furthest cursor of its devices.
SELECT json_group_object(robot, seq) FROM (
  SELECT robot, max(seq) AS seq FROM cursors
  WHERE conv = (SELECT id FROM conversations WHERE name = :conv)
  GROUP BY robot
);
