-- How scans are prepared and sampled, as JSON {min_lung_ml, sampling}.
ALTER TABLE trainings ADD COLUMN preparation TEXT NOT NULL DEFAULT '{"min_lung_ml":1500,"sampling":"usual"}';
