-- What answers that looked things up stand on, as JSON: their sources, and what the search engine asks to be shown along with
-- them. A program of the version before neither writes nor reads this, and shows such an answer without.
CREATE TABLE IF NOT EXISTS message_groundings (
    room TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    grounding TEXT NOT NULL,
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID
