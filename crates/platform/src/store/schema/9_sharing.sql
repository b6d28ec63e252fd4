-- Institutions whose own curves the coordinator may see although secure aggregation hides them.
CREATE TABLE shared_curves (
    user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE
) STRICT;
