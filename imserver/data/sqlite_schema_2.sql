-- What schema 2 added to schema 1.

ALTER TABLE conversations ADD COLUMN floor INTEGER NOT NULL DEFAULT 1;

ALTER TABLE conversations ADD COLUMN seen INTEGER;
