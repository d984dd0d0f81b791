-- Log-ins by single sign-on that came back from the provider, so that none does twice. A row is kept a little longer than an
-- attempt may take.
CREATE TABLE IF NOT EXISTS spent_sign_ons (
    attempt_hash BINARY(32) NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (attempt_hash),
    KEY spent_sign_ons_expires (expires_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
