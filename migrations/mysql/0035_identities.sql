-- Who people are at the provider of single sign-on, and whose account that is. What is kept of an identity is a hash of
-- issuer and subject: a subject may tell upper from lower case, and may be a name. It outlasts its account, so that who
-- was deleted or disabled does not come in anew.
CREATE TABLE IF NOT EXISTS identities (
    identity_hash BINARY(32) NOT NULL,
    id BINARY(16) NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    issuer VARCHAR(500) NOT NULL,
    linked_at_ms BIGINT NOT NULL,
    PRIMARY KEY (identity_hash),
    UNIQUE KEY identities_id (id),
    KEY identities_user (user)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
