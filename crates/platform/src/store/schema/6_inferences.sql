-- A scan that is to be marked, is being marked or has been, with what the result says about itself. The scan and the model
-- may be gone: their names stay.
CREATE TABLE inferences (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users,
  scan_id INTEGER NOT NULL,
  series_uid TEXT NOT NULL,
  model_id INTEGER NOT NULL,
  model_version TEXT NOT NULL,
  model_sha256 TEXT NOT NULL,
  model_note TEXT NOT NULL,
  mode TEXT NOT NULL CHECK (mode IN ('fast', 'standard', 'accurate')),
  threshold REAL NOT NULL CHECK (threshold BETWEEN 0 AND 1),
  state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
  -- How often it was begun: a scan that takes the worker down every time must not be tried for ever.
  attempts INTEGER NOT NULL DEFAULT 0,
  -- Whether somebody asked for its end while it was running.
  cancelling INTEGER NOT NULL DEFAULT FALSE CHECK (cancelling IN (FALSE, TRUE)),
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  -- JSON {message, advice}, where it failed.
  failure TEXT,
  -- JSON {device, stages_s, peak_memory_bytes, searched}, where it is done.
  details TEXT
) STRICT;
CREATE INDEX inferences_of_user ON inferences (user_id, id);
CREATE INDEX inferences_of_scan ON inferences (scan_id);
CREATE INDEX inferences_in_state ON inferences (state, id);

CREATE TABLE findings (
  inference_id INTEGER NOT NULL REFERENCES inferences ON DELETE CASCADE,
  number INTEGER NOT NULL,
  x_mm REAL NOT NULL,
  y_mm REAL NOT NULL,
  z_mm REAL NOT NULL,
  i REAL NOT NULL,
  j REAL NOT NULL,
  k REAL NOT NULL,
  diameter_mm REAL NOT NULL,
  confidence REAL NOT NULL,
  side TEXT CHECK (side IN ('left', 'right')),
  review TEXT CHECK (review IN ('accepted', 'rejected')),
  reviewed_at INTEGER,
  reviewed_by TEXT,
  PRIMARY KEY (inference_id, number)
) STRICT, WITHOUT ROWID;
