-- `email` is verified; `email_new` waits for it. `version` is that of the row in the users' database, 0 where it has none.
ALTER TABLE users ADD COLUMN email TEXT;
ALTER TABLE users ADD COLUMN email_new TEXT;
ALTER TABLE users ADD COLUMN version INTEGER NOT NULL DEFAULT 0;

CREATE TABLE verifications (
  token_hash BLOB PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users,
  email TEXT NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Mails to be written and sent. Tokens are made when a mail is sent, so none lies here.
CREATE TABLE mails (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  username TEXT,
  address TEXT,
  language TEXT NOT NULL,
  queued_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX mails_due ON mails (next_at);

-- Changes on their way to the users' database: what is to be said of them when they have arrived.
CREATE TABLE intents (
  change_id TEXT PRIMARY KEY,
  username TEXT NOT NULL,
  before_version INTEGER,
  at INTEGER NOT NULL,
  action TEXT NOT NULL,
  actor TEXT,
  target TEXT,
  address TEXT,
  detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
