-- Log-ins by single sign-on that came back from the provider, so that none does twice. A row is kept a little longer than an
-- attempt may take.
CREATE TABLE IF NOT EXISTS spent_sign_ons (
    attempt_hash BLOB NOT NULL PRIMARY KEY CHECK (length(attempt_hash) = 32),
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spent_sign_ons_expires ON spent_sign_ons (expires_at_ms)
