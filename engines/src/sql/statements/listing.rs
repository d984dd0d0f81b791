//! The list of rooms that a user may see, page by page, in statements that both engines understand. Each of them goes along
//! an index from where the page begins and ends with the page, however many rooms there are.

use common::store::ListedRoom;

use super::{Connection, read_marks};
use crate::sql::failure::Failure;

/// What is listed of a room; the first parameter is whose list it is. Its latest message is the end of its stretch of the key:
/// one look for each room.
macro_rules! listed {
    ($from:literal) => {
        concat!(
            "SELECT rooms.name, rooms.owner, rooms.private, rooms.bot, \
             COALESCE((SELECT room_details.title FROM room_details WHERE room_details.room = rooms.name), '') AS title, \
             COALESCE((SELECT messages.seq FROM messages WHERE messages.room = rooms.name \
             ORDER BY messages.seq DESC LIMIT 1), 0) AS latest, \
             COALESCE((SELECT read_marks.seq FROM read_marks WHERE read_marks.room = rooms.name \
             AND read_marks.user = ?), 0) AS last_read, \
             COALESCE((SELECT room_retention.gone_until FROM room_retention \
             WHERE room_retention.room = rooms.name), 0) AS gone_until, ",
            $from
        )
    };
}

const OWNED: &str = listed!(
    "NULL AS invited_by FROM rooms WHERE rooms.owner = ? AND rooms.name > ? ORDER BY rooms.name LIMIT ?"
);

const MEMBER: &str = listed!(
    "NULL AS invited_by FROM members JOIN rooms ON rooms.name = members.room \
     WHERE members.user = ? AND members.room > ? AND rooms.owner <> ? AND NOT EXISTS \
     (SELECT 1 FROM invitations WHERE invitations.room = members.room AND invitations.user = members.user \
     AND invitations.ended_at_ms IS NULL) ORDER BY members.room LIMIT ?"
);

const INVITED: &str = listed!(
    "invitations.invited_by FROM invitations JOIN rooms ON rooms.name = invitations.room \
     WHERE invitations.user = ? AND invitations.room > ? AND invitations.ended_at_ms IS NULL \
     ORDER BY invitations.room LIMIT ?"
);

const PUBLIC: &str = listed!(
    "NULL AS invited_by FROM rooms WHERE rooms.private = 0 AND rooms.name > ? AND rooms.owner <> ? AND NOT EXISTS \
     (SELECT 1 FROM members WHERE members.room = rooms.name AND members.user = ?) AND NOT EXISTS \
     (SELECT 1 FROM bans WHERE bans.room = rooms.name AND bans.user = ?) ORDER BY rooms.name LIMIT ?"
);

/// A row of the list.
#[derive(sqlx::FromRow)]
struct ListedRow {
    name: String,
    owner: String,
    private: bool,
    bot: String,
    title: String,
    latest: i64,
    last_read: i64,
    gone_until: i64,
    invited_by: Option<String>,
}

impl TryFrom<ListedRow> for ListedRoom {
    type Error = Failure;

    fn try_from(row: ListedRow) -> Result<ListedRoom, Failure> {
        Ok(ListedRoom {
            bot: super::rooms::policy(&row.name, &row.bot)?,
            name: row.name,
            title: row.title,
            private: row.private,
            owner: row.owner,
            latest: row.latest.cast_unsigned(),
            read: row.last_read.cast_unsigned(),
            unread: 0,
            invited_by: row.invited_by,
        })
    }
}

/// The parts of the list, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    In,
    Invited,
    Public,
}

/// One page: what comes after a room of the page before.
pub(super) async fn page(
    db: &mut Connection,
    user: &str,
    after: Option<&str>,
    limit: usize,
    takes: usize,
) -> Result<Vec<ListedRoom>, Failure> {
    let (begins, after) = match after {
        Some(after) => (part_of(db, user, after).await?, after),
        None => (Part::In, ""),
    };
    let mut rows = Vec::new();
    let mut strange_from = usize::MAX;
    for part in [Part::In, Part::Invited, Part::Public] {
        if part < begins || rows.len() >= limit {
            continue;
        }
        let after = if part == begins { after } else { "" };
        let left = limit - rows.len();
        if part == Part::Public {
            strange_from = rows.len();
        }
        rows.extend(rows_of(db, part, user, after, left).await?);
    }
    // What is gone by age was never there.
    for row in &mut rows {
        if row.latest <= row.gone_until {
            row.latest = 0;
        }
    }
    let behind = rows.iter().enumerate().filter(|(at, row)| {
        let is_followed = *at < strange_from || row.last_read > 0;
        is_followed && row.latest > row.last_read
    });
    let behind: Vec<_> = behind
        .map(|(_, row)| (&*row.name, row.last_read.max(row.gone_until)))
        .collect();
    let unread = read_marks::unread(db, user, &behind, takes).await?;
    let listed = rows.into_iter().map(|row| {
        let mut listed = ListedRoom::try_from(row)?;
        listed.unread = unread.get(&listed.name).copied().unwrap_or_default();
        Ok(listed)
    });
    listed.collect()
}

async fn rows_of(
    db: &mut Connection,
    part: Part,
    user: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<ListedRow>, Failure> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = match part {
        Part::In => {
            let owned = sqlx::query_as::<_, ListedRow>(OWNED);
            let owned = owned.bind(user).bind(user).bind(after).bind(most);
            let mut rows = owned.fetch_all(&mut *db).await?;
            let member = sqlx::query_as::<_, ListedRow>(MEMBER);
            let member = member
                .bind(user)
                .bind(user)
                .bind(after)
                .bind(user)
                .bind(most);
            rows.extend(member.fetch_all(db).await?);
            rows.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            rows.truncate(limit);
            return Ok(rows);
        }
        Part::Invited => {
            let query = sqlx::query_as(INVITED).bind(user).bind(user);
            query.bind(after).bind(most)
        }
        Part::Public => {
            let query = sqlx::query_as(PUBLIC).bind(user).bind(after).bind(user);
            query.bind(user).bind(user).bind(most)
        }
    };
    Ok(query.fetch_all(db).await?)
}

/// In which part of the user's list a room is. One that is private and not theirs any more was in the first; so is one that
/// is not there, or the answer would tell which private rooms there are.
async fn part_of(db: &mut Connection, user: &str, room: &str) -> Result<Part, Failure> {
    let query = sqlx::query_as::<_, (bool, String, i64, i64)>(
        "SELECT rooms.private, rooms.owner, \
         EXISTS (SELECT 1 FROM members WHERE members.room = rooms.name AND members.user = ?), \
         EXISTS (SELECT 1 FROM invitations WHERE invitations.room = rooms.name AND invitations.user = ? \
         AND invitations.ended_at_ms IS NULL) \
         FROM rooms WHERE rooms.name = ?",
    );
    let query = query.bind(user).bind(user).bind(room);
    Ok(match query.fetch_optional(db).await? {
        Some((_, _, _, 1)) => Part::Invited,
        Some((private, owner, member, _)) if private || owner == user || member == 1 => Part::In,
        None => Part::In,
        Some(_) => Part::Public,
    })
}
