-- Of the body that the network has segmented, mm³; NULL where it has none, and for results of earlier programs.
ALTER TABLE findings ADD COLUMN volume_mm3 REAL;
