-- What is set about programs, by names, which accounts and rooms share: whether an account is a program, and whether the bot
-- answers programs in a room. A name without a row is no program's, and no room where they are answered.
CREATE TABLE IF NOT EXISTS programs (
    name TEXT NOT NULL PRIMARY KEY,
    is_program INTEGER NOT NULL,
    are_answered INTEGER NOT NULL
) STRICT, WITHOUT ROWID
