-- Chinwag's users in MySQL or MariaDB, each with what it needs of the database `chinwag` and nothing else. A test runs this as it
-- stands, and the services with these users.
CREATE DATABASE IF NOT EXISTS `chinwag` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'chinwag-migrate'@'%' IDENTIFIED BY 'PASSWORD-MIGRATE';
CREATE USER IF NOT EXISTS 'chinwag-edge'@'%' IDENTIFIED BY 'PASSWORD-EDGE';
CREATE USER IF NOT EXISTS 'chinwag-worker'@'%' IDENTIFIED BY 'PASSWORD-WORKER';
CREATE USER IF NOT EXISTS 'chinwag-persister'@'%' IDENTIFIED BY 'PASSWORD-PERSISTER';
-- `persister migrate` alone changes the schema.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `chinwag`.* TO 'chinwag-migrate'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON `chinwag`.* TO 'chinwag-edge'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON `chinwag`.* TO 'chinwag-persister'@'%';
-- What a worker has to say goes through the queue. It reads what is about a question, writes a note into `messages`, to see whether
-- the database takes anything, and keeps what its calls have used. The right to make a table is what lets rights be given on one
-- that `persister migrate` has yet to make; it is taken back at once. What was given before goes first, so this may run again.
REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`_sqlx_migrations` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`rooms` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`room_details` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`room_retention` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`room_bots` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`programs` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`standings` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`deleted_rooms` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`message_events` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`message_states` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`reply_stops` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`message_groundings` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`read_marks` TO 'chinwag-worker'@'%';
GRANT SELECT, CREATE ON `chinwag`.`replies` TO 'chinwag-worker'@'%';
GRANT SELECT, INSERT, UPDATE, CREATE ON `chinwag`.`messages` TO 'chinwag-worker'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON `chinwag`.`spendings` TO 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`_sqlx_migrations` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`rooms` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`room_details` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`room_retention` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`room_bots` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`programs` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`standings` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`deleted_rooms` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`message_events` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`message_states` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`reply_stops` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`message_groundings` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`read_marks` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`replies` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`messages` FROM 'chinwag-worker'@'%';
REVOKE CREATE ON `chinwag`.`spendings` FROM 'chinwag-worker'@'%';
