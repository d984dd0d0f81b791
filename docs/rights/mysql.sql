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
-- What a worker has to say goes through the queue; it writes a note, to see whether the database takes anything, and deletes nothing.
GRANT SELECT, INSERT, UPDATE ON `chinwag`.* TO 'chinwag-worker'@'%';
