-- What is set about programs, by names, which accounts and rooms share: whether an account is a program, and whether the bot
-- answers programs in a room. A name without a row is no program's, and no room where they are answered.
CREATE TABLE IF NOT EXISTS programs (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    is_program BOOLEAN NOT NULL,
    are_answered BOOLEAN NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
