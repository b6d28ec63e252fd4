-- What a scan is listed with: bytes of its files, and the grid of its file as JSON.
ALTER TABLE scans ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE scans ADD COLUMN grid TEXT NOT NULL DEFAULT 'null';
-- Tables name scans by their series.
CREATE UNIQUE INDEX series_of_user ON scans (user_id, series_uid);

-- Scans on their way in. The header was read and kept when the upload began; how much of the data is there, its file tells.
CREATE TABLE uploads (
  id TEXT PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users,
  series_uid TEXT NOT NULL,
  -- As the files are called where they come from; both are the same where one file holds everything.
  header_name TEXT NOT NULL,
  data_name TEXT NOT NULL,
  -- What the header says, written anew; empty where one file holds everything.
  header TEXT NOT NULL,
  -- Of the header's text as it was sent: who chooses the files again goes on with the same upload.
  header_sha256 TEXT NOT NULL,
  -- The data's file in the upload's folder, and how long it must become.
  data_file TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('receiving', 'checking', 'refused')),
  -- JSON {zh, en}: why, where it is refused.
  refusal TEXT,
  created_at INTEGER NOT NULL,
  -- Within the hour, when something arrived last.
  touched_at INTEGER NOT NULL,
  UNIQUE (user_id, series_uid)
) STRICT;

-- Folders below the data folder that nothing refers to any more. Whoever removes one forgets it here afterwards.
CREATE TABLE removals (path TEXT PRIMARY KEY) STRICT;

-- Known nodules by series. Those of nobody are an administrator's and hold for every institution; a series of which an
-- institution has its own goes by these alone.
CREATE TABLE annotations (
  id INTEGER PRIMARY KEY,
  user_id INTEGER REFERENCES users,
  series_uid TEXT NOT NULL,
  x_mm REAL NOT NULL,
  y_mm REAL NOT NULL,
  z_mm REAL NOT NULL,
  diameter_mm REAL NOT NULL
) STRICT;
CREATE INDEX annotations_of_series ON annotations (series_uid, user_id);
CREATE INDEX annotations_of_user ON annotations (user_id);
-- The table in an institution's folder, for workers, as it was written last.
CREATE TABLE annotation_files (
  user_id INTEGER PRIMARY KEY REFERENCES users,
  sha256 TEXT NOT NULL,
  written_at INTEGER NOT NULL
) STRICT;
