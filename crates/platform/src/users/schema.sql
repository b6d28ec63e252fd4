-- One statement after the other in one transaction. Nobody but the owner sees the schema: no API of Supabase serves it, and row
-- level security without a policy lets no other role read a row.
CREATE SCHEMA IF NOT EXISTS fednodule;
REVOKE ALL ON SCHEMA fednodule FROM PUBLIC;
CREATE TABLE IF NOT EXISTS fednodule.meta (key text PRIMARY KEY, value bigint NOT NULL);
ALTER TABLE fednodule.meta ENABLE ROW LEVEL SECURITY;
CREATE TABLE IF NOT EXISTS fednodule.users (
  username text PRIMARY KEY CHECK (username ~ '^[a-z][a-z0-9_-]{2,31}$'),
  institution text NOT NULL,
  role text NOT NULL CHECK (role IN ('server', 'client')),
  status text NOT NULL CHECK (status IN ('pending', 'active', 'disabled')),
  password_hash text NOT NULL,
  email text,
  email_new text,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  change_id text NOT NULL
);
ALTER TABLE fednodule.users ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON fednodule.users, fednodule.meta FROM PUBLIC;
-- A change by hand counts, too.
CREATE OR REPLACE FUNCTION fednodule.count_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.version = OLD.version THEN NEW.version := OLD.version + 1; NEW.change_id := 'by hand'; END IF;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS count_change ON fednodule.users;
CREATE TRIGGER count_change BEFORE UPDATE ON fednodule.users FOR EACH ROW EXECUTE FUNCTION fednodule.count_change();
INSERT INTO fednodule.meta VALUES ('schema', 1) ON CONFLICT (key) DO NOTHING;
