-- Who people are at the provider of single sign-on, and whose account that is. What is kept of an identity is a hash of
-- issuer and subject: a subject may tell upper from lower case, and may be a name. It outlasts its account, so that who
-- was deleted or disabled does not come in anew.
CREATE TABLE IF NOT EXISTS identities (
    identity_hash BLOB NOT NULL PRIMARY KEY CHECK (length(identity_hash) = 32),
    id BLOB NOT NULL UNIQUE,
    user TEXT NOT NULL,
    issuer TEXT NOT NULL,
    linked_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS identities_user ON identities (user)
