-- Which of the messages are no messages but events that change one: it is edited, or deleted. An event is a row of `messages` like
-- any other, of the kind `user` and in reply to what it changes, and one here. So a program of the version before, which does not
-- know of events, still reads each room's history: it takes an edit for one more message with the new text.
CREATE TABLE IF NOT EXISTS message_events (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id BINARY(16) NOT NULL,
    kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    target BINARY(16) NOT NULL,
    PRIMARY KEY (room, id),
    KEY message_events_target (room, target)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
