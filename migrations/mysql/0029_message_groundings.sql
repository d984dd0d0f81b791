-- What answers that looked things up stand on, as JSON: their sources, and what the search engine asks to be shown along with
-- them. A program of the version before neither writes nor reads this, and shows such an answer without.
CREATE TABLE IF NOT EXISTS message_groundings (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id BINARY(16) NOT NULL,
    grounding MEDIUMTEXT NOT NULL,
    PRIMARY KEY (room, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
