//! Which tables an archive has, with their columns, for both engines. A test holds it against the schema: whoever adds a table or a
//! column says here what becomes of it, and why, if it is left out (below).

/// What a column holds, and so how it is written in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A text.
    Text,
    /// A whole number, or 0 and 1 for no and yes.
    Number,
    /// An id: 16 bytes.
    Id,
    /// A hash: 32 bytes.
    Hash,
}

use Held::{Hash, Id, Number, Text};

/// A table that is archived.
pub(super) struct Archived {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Held)],
    /// How it is read: what stands behind `SELECT`'s columns, each row once, along a key.
    pub(super) from: &'static str,
    /// Whether it only goes along where sessions do.
    pub(super) with_sessions: bool,
    /// A column that the engine counts by itself: it is read, and not written.
    pub(super) counted: Option<&'static str>,
}

const fn plain(
    name: &'static str,
    columns: &'static [(&'static str, Held)],
    from: &'static str,
) -> Archived {
    Archived {
        name,
        columns,
        from,
        with_sessions: false,
        counted: None,
    }
}

/// In the order in which they are written: names first, since these are looked at before anything is imported.
pub(super) static ARCHIVED: [Archived; 28] = [
    plain(
        "users",
        &[
            ("name", Text),
            ("skeleton", Text),
            ("password_hash", Text),
            ("created_at_ms", Number),
        ],
        "FROM users t ORDER BY t.name",
    ),
    plain(
        "deleted_rooms",
        &[
            ("name", Text),
            ("owner", Text),
            ("created_at_ms", Number),
            ("deleted_at_ms", Number),
            ("due_at_ms", Number),
        ],
        "FROM deleted_rooms t ORDER BY t.name",
    ),
    plain(
        "rooms",
        &[
            ("name", Text),
            ("owner", Text),
            ("private", Number),
            ("bot", Text),
            ("persona", Text),
            ("created_at_ms", Number),
        ],
        "FROM rooms t ORDER BY t.name",
    ),
    plain(
        "room_looks",
        &[("room", Text), ("skeleton", Text)],
        "FROM room_looks t ORDER BY t.room",
    ),
    plain(
        "standings",
        &[
            ("user", Text),
            ("admin", Number),
            ("disabled", Number),
            ("deleted", Number),
            ("changed_at_ms", Number),
        ],
        "FROM standings t ORDER BY t.user",
    ),
    plain(
        "room_details",
        &[("room", Text), ("title", Text), ("topic", Text)],
        "FROM room_details t ORDER BY t.room",
    ),
    plain(
        "room_bots",
        &[
            ("room", Text),
            ("model", Text),
            ("thinking", Text),
            ("search", Number),
        ],
        "FROM room_bots t ORDER BY t.room",
    ),
    plain(
        "programs",
        &[
            ("name", Text),
            ("is_program", Number),
            ("are_answered", Number),
        ],
        "FROM programs t ORDER BY t.name",
    ),
    plain(
        "identities",
        &[
            ("identity_hash", Hash),
            ("id", Id),
            ("user", Text),
            ("issuer", Text),
            ("linked_at_ms", Number),
        ],
        "FROM identities t ORDER BY t.identity_hash",
    ),
    plain(
        "room_retention",
        &[
            ("room", Text),
            ("days", Number),
            ("gone_until", Number),
            ("untrimmed", Number),
        ],
        "FROM room_retention t ORDER BY t.room",
    ),
    plain(
        "members",
        &[("room", Text), ("user", Text)],
        "FROM members t ORDER BY t.room, t.user",
    ),
    plain(
        "invitations",
        &[
            ("room", Text),
            ("user", Text),
            ("invited_by", Text),
            ("invited_at_ms", Number),
            ("ended_at_ms", Number),
            ("ended_times", Number),
        ],
        "FROM invitations t ORDER BY t.room, t.user",
    ),
    plain(
        "bans",
        &[
            ("room", Text),
            ("user", Text),
            ("banned_by", Text),
            ("banned_at_ms", Number),
        ],
        "FROM bans t ORDER BY t.room, t.user",
    ),
    plain(
        "invites",
        &[
            ("token_hash", Hash),
            ("id", Id),
            ("made_by", Text),
            ("admin", Number),
            ("room", Text),
            ("uses", Number),
            ("used", Number),
            ("made_at_ms", Number),
            ("expires_at_ms", Number),
            ("withdrawn_at_ms", Number),
        ],
        "FROM invites t ORDER BY t.token_hash",
    ),
    plain(
        "tokens",
        &[
            ("token_hash", Hash),
            ("id", Id),
            ("user", Text),
            ("name", Text),
            ("created_at_ms", Number),
            ("last_used_at_ms", Number),
            ("expires_at_ms", Number),
        ],
        "FROM tokens t ORDER BY t.token_hash",
    ),
    plain(
        "read_marks",
        &[("user", Text), ("room", Text), ("seq", Number)],
        "FROM read_marks t ORDER BY t.user, t.room",
    ),
    plain(
        "departures",
        &[
            ("user", Text),
            ("after_room", Text),
            ("claimed_until_ms", Number),
            ("left_at_ms", Number),
        ],
        "FROM departures t ORDER BY t.user",
    ),
    // What is said of messages comes before them: whoever reads one is told at once that it is edited, deleted or none.
    // Of what is gone by age, or with its room, and still lies there for a moment, nothing goes along.
    plain(
        "message_states",
        &[
            ("room", Text),
            ("id", Id),
            ("edited_seq", Number),
            ("deleted_seq", Number),
            ("message", Text),
        ],
        "FROM message_states t LEFT JOIN room_retention r ON r.room = t.room \
         LEFT JOIN deleted_rooms d ON d.name = t.room WHERE d.name IS NULL AND t.room NOT LIKE ':%' \
         AND (t.edited_seq > COALESCE(r.gone_until, 0) OR t.deleted_seq > COALESCE(r.gone_until, 0)) \
         ORDER BY t.room, t.id",
    ),
    plain(
        "message_events",
        &[("room", Text), ("id", Id), ("kind", Text), ("target", Id)],
        "FROM message_events t JOIN messages m ON m.id = t.id AND m.room = t.room \
         LEFT JOIN room_retention r ON r.room = t.room LEFT JOIN deleted_rooms d ON d.name = t.room \
         WHERE d.name IS NULL AND m.seq > COALESCE(r.gone_until, 0) ORDER BY t.room, t.id",
    ),
    plain(
        "reply_stops",
        &[("room", Text), ("id", Id), ("stopped_by", Text)],
        "FROM reply_stops t JOIN messages m ON m.id = t.id AND m.room = t.room \
         LEFT JOIN room_retention r ON r.room = t.room LEFT JOIN deleted_rooms d ON d.name = t.room \
         WHERE d.name IS NULL AND m.seq > COALESCE(r.gone_until, 0) ORDER BY t.room, t.id",
    ),
    plain(
        "message_groundings",
        &[("room", Text), ("id", Id), ("grounding", Text)],
        "FROM message_groundings t JOIN messages m ON m.id = t.id AND m.room = t.room \
         LEFT JOIN room_retention r ON r.room = t.room LEFT JOIN deleted_rooms d ON d.name = t.room \
         WHERE d.name IS NULL AND m.seq > COALESCE(r.gone_until, 0) ORDER BY t.room, t.id",
    ),
    plain(
        "messages",
        &[
            ("room", Text),
            ("seq", Number),
            ("id", Id),
            ("sender", Text),
            ("kind", Text),
            ("message", Text),
            ("reply_to", Id),
        ],
        "FROM messages t LEFT JOIN room_retention r ON r.room = t.room \
         LEFT JOIN deleted_rooms d ON d.name = t.room WHERE d.name IS NULL AND t.room NOT LIKE ':%' \
         AND t.seq > COALESCE(r.gone_until, 0) ORDER BY t.room, t.seq",
    ),
    plain(
        "replies",
        &[
            ("room", Text),
            ("id", Id),
            ("request", Id),
            ("user", Text),
            ("day", Text),
            ("model", Text),
            ("attempts", Number),
            ("tokens_in", Number),
            ("tokens_out", Number),
            ("first_token_ms", Number),
            ("total_ms", Number),
            ("cost_micros", Number),
            ("outcome", Text),
        ],
        "FROM replies t ORDER BY t.room, t.id",
    ),
    plain(
        "reply_details",
        &[
            ("room", Text),
            ("id", Id),
            ("day", Text),
            ("tokens_cached", Number),
            ("tokens_thought", Number),
            ("searches", Number),
            ("estimated", Number),
        ],
        "FROM reply_details t ORDER BY t.room, t.id",
    ),
    plain(
        "spendings",
        &[
            ("id", Id),
            ("day", Text),
            ("room", Text),
            ("user", Text),
            ("model", Text),
            ("calls", Number),
            ("tokens_in", Number),
            ("tokens_out", Number),
            ("cost_micros", Number),
            ("open_until", Number),
        ],
        "FROM spendings t ORDER BY t.id",
    ),
    Archived {
        name: "audit",
        columns: &[
            ("id", Number),
            ("at_ms", Number),
            ("actor", Text),
            ("deed", Text),
            ("subject", Text),
            ("detail", Text),
        ],
        from: "FROM audit t ORDER BY t.id",
        with_sessions: false,
        counted: Some("id"),
    },
    Archived {
        name: "sessions",
        columns: &[
            ("token_hash", Hash),
            ("id", Id),
            ("user", Text),
            ("device", Text),
            ("created_at_ms", Number),
            ("last_seen_at_ms", Number),
            ("expires_at_ms", Number),
        ],
        from: "FROM sessions t ORDER BY t.token_hash",
        with_sessions: true,
        counted: None,
    },
    Archived {
        name: "devices",
        columns: &[
            ("device_hash", Hash),
            ("user", Text),
            ("used_at_ms", Number),
        ],
        from: "FROM devices t ORDER BY t.device_hash",
        with_sessions: true,
        counted: None,
    },
];

/// The table of this name.
pub(super) fn archived(name: &str) -> Option<&'static Archived> {
    ARCHIVED.iter().find(|table| table.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

    use super::*;
    use crate::sql::SqliteStore;

    /// Tables that no archive has, and why.
    const LEFT_OUT: [(&str, &str); 6] = [
        ("_sqlx_migrations", "the schema is the other server's own"),
        ("resets", "links that hold for a day at most"),
        (
            "room_makings",
            "who made how many rooms within the last hour",
        ),
        ("sweeps", "how far this server has looked through its rooms"),
        ("imports", "what was imported here"),
        ("spent_sign_ons", "log-ins of the last minutes"),
    ];

    #[tokio::test]
    async fn every_table_and_column_of_the_schema_is_archived_or_left_out_for_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        SqliteStore::open(folder.path()).await.unwrap();
        let file = SqliteConnectOptions::new().filename(folder.path().join("store.db"));
        let mut db = SqliteConnection::connect_with(&file).await.unwrap();
        let columns: Vec<(String, String)> = sqlx::query_as(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'",
        )
        .fetch_all(&mut db)
        .await
        .unwrap();
        let mut there: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (table, column) in &columns {
            there.entry(table).or_default().insert(column);
        }
        for (table, why) in LEFT_OUT {
            assert!(there.remove(table).is_some() && !why.is_empty(), "{table}");
        }
        let names = |table: &Archived| table.columns.iter().map(|(name, _)| *name).collect();
        let archived: BTreeMap<&str, BTreeSet<&str>> = ARCHIVED
            .iter()
            .map(|table| (table.name, names(table)))
            .collect();
        assert_eq!(archived, there);
    }
}
