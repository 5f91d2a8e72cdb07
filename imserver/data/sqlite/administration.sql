-- Administrative acts, tokens on record, and starts of robots' programs.

-- name: is_performed
SELECT 1 FROM acts WHERE id = ?;

-- name: record
INSERT INTO acts (id, at_ms, by_whom, kind, robot, token_id, facts) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: put_token
INSERT OR IGNORE INTO tokens (id, kind, robot, scopes, convs, minted_ms, minted_by, expires_ms)
VALUES (:id, :kind, :robot, :scopes, :convs, :at_ms, :by, :expires_ms);

-- name: end_token
-- One that is not on record is put there.
INSERT INTO tokens (id, kind, robot, scopes, convs, minted_ms, minted_by, expires_ms, revoked_ms)
VALUES (:id, '', :robot, '[]', '[]', :at_ms, '', :expires_ms, :at_ms)
ON CONFLICT DO UPDATE SET revoked_ms = coalesce(revoked_ms, excluded.revoked_ms);

-- name: end_robot
INSERT INTO robots (name, public_key, registered_ms, revoked_ms) VALUES (:robot, NULL, :at_ms, :at_ms)
ON CONFLICT DO UPDATE SET
  public_key = NULL, revoked_ms = max(excluded.revoked_ms, coalesce(revoked_ms, 0));

-- name: replace_key
UPDATE robots SET public_key = :new WHERE name = :robot AND public_key = :old RETURNING 1;

-- name: forget_acts
DELETE FROM acts
WHERE at_ms < :before_ms
   OR number <= (SELECT number FROM acts ORDER BY number DESC LIMIT 1 OFFSET :acts_max);

-- name: forget_tokens
DELETE FROM tokens WHERE expires_ms <= ?;

-- name: note_boot
INSERT INTO boots (robot, device, number, instance, noted)
VALUES (:robot, :device, :number, :instance,
  (SELECT coalesce(max(noted), 0) + 1 FROM boots WHERE robot = :robot))
ON CONFLICT DO UPDATE SET
  number = excluded.number, instance = excluded.instance, noted = excluded.noted;

-- name: forget_boots
DELETE FROM boots WHERE robot = :robot AND noted <= (
  SELECT noted FROM boots WHERE robot = :robot ORDER BY noted DESC LIMIT 1 OFFSET :boots_max);

-- name: acts
SELECT json_group_array(json_object(
  'number', number, 'at_ms', at_ms, 'by', by_whom, 'kind', kind, 'robot', robot,
  'token_id', token_id, 'facts', json(facts)))
FROM (SELECT * FROM acts WHERE number < :before ORDER BY number DESC LIMIT :limit);

-- name: tokens
SELECT json_group_array(json_object(
  'id', id, 'kind', kind, 'robot', robot, 'scopes', json(scopes), 'groups', json(convs),
  'minted_ms', minted_ms, 'minted_by', minted_by, 'expires_ms', expires_ms,
  'revoked_ms', revoked_ms,
  'spent', json(iif(id IN (SELECT id FROM spent_tokens), 'true', 'false'))))
FROM (
  SELECT * FROM tokens WHERE id > :after AND robot = coalesce(:robot, robot)
  ORDER BY id LIMIT :limit);

-- name: token
SELECT json_group_array(json_object(
  'id', id, 'kind', kind, 'robot', robot, 'scopes', json(scopes), 'groups', json(convs),
  'minted_ms', minted_ms, 'minted_by', minted_by, 'expires_ms', expires_ms,
  'revoked_ms', revoked_ms,
  'spent', json(iif(id IN (SELECT id FROM spent_tokens), 'true', 'false'))))
FROM tokens WHERE id = :id;

-- name: revoked
SELECT json_object(
  'tokens', json((
    SELECT json_group_object(id, expires_ms) FROM tokens WHERE revoked_ms IS NOT NULL)),
  'robots', json((
    SELECT json_group_object(name, revoked_ms) FROM robots WHERE revoked_ms IS NOT NULL)));

-- name: last_boot
SELECT json_object('number', number, 'instance', instance) FROM boots
WHERE robot = :robot AND device = :device;
