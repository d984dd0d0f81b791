-- Invitations: who is in `members` and has not yet said whether they want to be. Taking one deletes its row. One that was
-- declined or withdrawn stays for a day, with how often within one, so that nobody is asked again and again.
CREATE TABLE IF NOT EXISTS invitations (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    invited_by VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    invited_at_ms BIGINT NOT NULL,
    ended_at_ms BIGINT NULL,
    ended_times INT NOT NULL,
    PRIMARY KEY (room, user),
    KEY invitations_user (user, room),
    KEY invitations_by (invited_by, invited_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
