-- Brings the history of a Django Channels chat into Chinwag's database: run by MySQL 8 or MariaDB 10.11, in Chinwag's schema, before its rooms are
-- used. `django.chat_message` (room, sender, content, timestamp in UTC) is to be replaced by the table of your model. Again is no fault.
INSERT INTO messages (room, seq, id, sender, kind, message, reply_to)
SELECT
    room,
    -- A place is a time in microseconds, and strictly above the one before it in the room.
    MAX(micros - place) OVER (PARTITION BY room ORDER BY place) + place,
    -- The same row has the same id, whenever this runs.
    UNHEX(LEFT(SHA2(CONCAT('django:', id), 256), 32)),
    sender,
    IF(sender = 'bot', 'bot', 'user'),
    LEFT(message, 4000),
    NULL
FROM (
    SELECT
        id,
        LOWER(room) AS room,
        LOWER(sender) AS sender,
        TRIM(content) AS message,
        TIMESTAMPDIFF(MICROSECOND, '1970-01-01', timestamp) AS micros,
        CAST(ROW_NUMBER() OVER (PARTITION BY LOWER(room) ORDER BY timestamp, id) AS SIGNED) AS place
    FROM django.chat_message
    WHERE TRIM(content) <> ''
) AS ordered
ON DUPLICATE KEY UPDATE id = messages.id;
