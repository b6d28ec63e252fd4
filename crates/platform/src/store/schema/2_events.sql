-- What happened, in the order in which it became true: what pages that were away for a while ask for.
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  audience TEXT NOT NULL CHECK (audience IN ('server', 'user', 'owner', 'everyone')),
  user_id INTEGER REFERENCES users CHECK ((user_id IS NOT NULL) = (audience IN ('user', 'owner'))),
  kind TEXT NOT NULL,
  -- JSON
  payload TEXT NOT NULL
) STRICT;
