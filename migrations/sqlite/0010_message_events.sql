-- Which of the messages are no messages but events that change one: it is edited, or deleted. An event is a row of `messages` like
-- any other, of the kind `user` and in reply to what it changes, and one here. So a program of the version before, which does not
-- know of events, still reads each room's history: it takes an edit for one more message with the new text.
CREATE TABLE IF NOT EXISTS message_events (
    room TEXT NOT NULL,
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    target BLOB NOT NULL CHECK (length(target) = 16),
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS message_events_target ON message_events (room, target)
