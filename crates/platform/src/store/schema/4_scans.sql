-- Complete scans: a header and its voxels, checked, below the folder of the user whose they are.
CREATE TABLE scans (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users,
  series_uid TEXT NOT NULL,
  -- The header's file in the user's folder. The server makes the name, and never gives it to another file.
  header_file TEXT NOT NULL,
  -- Of the CT values, as `fednodule inspect` tells it.
  voxels_sha256 TEXT NOT NULL,
  hu_min INTEGER NOT NULL,
  hu_max INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX scans_of_user ON scans (user_id, id);
