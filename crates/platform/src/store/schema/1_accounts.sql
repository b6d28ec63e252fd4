CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('users_generation', 0);

CREATE TABLE users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  username TEXT NOT NULL UNIQUE,
  institution TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('server', 'client')),
  status TEXT NOT NULL CHECK (status IN ('pending', 'active', 'disabled')),
  password_hash TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
-- Tells whether the users' file is as new as the table.
CREATE TRIGGER users_inserted AFTER INSERT ON users BEGIN UPDATE meta SET value = value + 1 WHERE key = 'users_generation'; END;
CREATE TRIGGER users_updated AFTER UPDATE ON users BEGIN UPDATE meta SET value = value + 1 WHERE key = 'users_generation'; END;
-- A name in the audit log must mean the same person for ever.
CREATE TRIGGER users_kept BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'accounts are disabled, never deleted'); END;

CREATE TABLE sessions (
  token_hash BLOB PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users,
  created_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE resets (
  token_hash BLOB PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The subject is a hash: what people type as their name by mistake may be their password.
CREATE TABLE failures (
  subject BLOB NOT NULL,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX failures_of_subject ON failures (subject, at);

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT,
  action TEXT NOT NULL,
  target TEXT,
  address TEXT,
  detail TEXT NOT NULL,
  previous BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_of_actor ON audit (actor, action, at);
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
