CREATE TABLE trainings (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'pausing', 'paused', 'stopping', 'completed', 'failed', 'cancelled')),
  -- Why it is paused, failed or cancelled: a word, and what somebody or the worker said about it.
  cause TEXT,
  reason TEXT,
  network TEXT NOT NULL,
  config TEXT NOT NULL,
  initial_model INTEGER REFERENCES models,
  note TEXT NOT NULL,
  created_by INTEGER NOT NULL REFERENCES users,
  created_at INTEGER NOT NULL,
  queued_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  -- Crashes of its worker since a round was last completed.
  crashes INTEGER NOT NULL DEFAULT 0,
  -- What its worker told, folded; a JSON document.
  monitor TEXT NOT NULL
) STRICT;
CREATE INDEX trainings_in_state ON trainings (state, queued_at);

CREATE TABLE training_sites (
  training_id INTEGER NOT NULL REFERENCES trainings,
  user_id INTEGER NOT NULL REFERENCES users,
  -- What there was when the training was made.
  scans INTEGER NOT NULL,
  nodules INTEGER NOT NULL,
  PRIMARY KEY (training_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX trainings_of_user ON training_sites (user_id);

CREATE TABLE training_entries (
  training_id INTEGER NOT NULL REFERENCES trainings,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  -- The site that it is about; nothing where it is about the whole.
  site TEXT,
  detail TEXT NOT NULL,
  PRIMARY KEY (training_id, number)
) STRICT, WITHOUT ROWID;

-- How long rounds took on this machine: what the next ones are estimated from.
CREATE TABLE round_times (
  training_id INTEGER NOT NULL REFERENCES trainings,
  round INTEGER NOT NULL,
  network TEXT NOT NULL,
  patch_size INTEGER NOT NULL,
  -- Patches that all sites together trained on.
  patches INTEGER NOT NULL,
  ms INTEGER NOT NULL,
  PRIMARY KEY (training_id, round)
) STRICT, WITHOUT ROWID;
CREATE INDEX round_times_like ON round_times (network, patch_size);

-- The number is the model's version.
CREATE TABLE models (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  training_id INTEGER NOT NULL UNIQUE REFERENCES trainings,
  parent_id INTEGER REFERENCES models,
  -- Below the data folder.
  file TEXT NOT NULL UNIQUE,
  bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  -- Of the weights alone, as the session's record has it.
  weights_sha256 TEXT NOT NULL,
  network TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  note TEXT NOT NULL,
  metrics TEXT NOT NULL
) STRICT;

-- The last one tells which model is in use.
CREATE TABLE promotions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  model_id INTEGER NOT NULL REFERENCES models,
  at INTEGER NOT NULL,
  user_id INTEGER NOT NULL REFERENCES users,
  is_rollback INTEGER NOT NULL CHECK (is_rollback IN (0, 1)),
  reason TEXT NOT NULL
) STRICT;
CREATE TRIGGER promotions_unchanged BEFORE UPDATE ON promotions BEGIN SELECT RAISE(ABORT, 'promotions are append-only'); END;
CREATE TRIGGER promotions_kept BEFORE DELETE ON promotions BEGIN SELECT RAISE(ABORT, 'promotions are append-only'); END;
