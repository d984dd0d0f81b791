//! `GET /api/me/export`: everything somebody wrote, as one JSON document, written while it is read: of any number of messages
//! there is a page in memory.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use common::{store::SentAt, supervise, wire::Seq};
use futures_util::stream::unfold;
use serde_json::json;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{sleep, timeout},
};

use super::{Http, account::rfc3339, body::Caller};
use crate::{departures::own_messages, problem::Problem, services::Services, sessions::now_ms};

/// How many of somebody's messages are asked for at a time, to know their rooms.
const FOUND: usize = 100;

/// The most rooms that are looked through because something in them may not be in the database yet.
const UNSETTLED_ROOMS: usize = 500;

/// How far back those are looked through: nothing stays out of the database for longer than the persisters are away.
const UNSETTLED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Behind every place that a database knows.
const SEQ_MAX: Seq = i64::MAX as Seq;

/// The longest that an archive may take: whoever reads it slowly keeps others from theirs.
const LONGEST: Duration = Duration::from_secs(600);

/// Between two blanks that say that it goes on. By the clock alone: how many rooms there are that one does not see, and
/// how much is said in them, is nobody's business.
const BLANK_EVERY: Duration = Duration::from_secs(5);

/// When to come again while one is written.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// A part of the body, or its end: a body that ends without that breaks off.
enum Piece {
    Part(Bytes),
    End,
}

/// An archive that is being written.
struct Archive {
    services: Arc<Services>,
    user: String,
    pieces: Sender<Piece>,
    is_first: bool,
}

/// For each the database looks through all messages, so few are written at a time, and one for a person. Since it costs
/// something, a page from elsewhere may no more ask for it than change something.
pub(super) async fn export(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !http.origins.allowed(&headers) {
        return Err(Problem::forbidden(
            "pages of this origin may not call; see ALLOWED_ORIGINS",
        ));
    }
    let own = http.exports_of.take(&caller.user);
    let own = own.ok_or_else(|| {
        Problem::rate_limited("an archive of yours is written at this moment", TRY_AGAIN)
    })?;
    let turn = Arc::clone(&http.exports).try_acquire_owned();
    let turn = turn.map_err(|_| {
        Problem::rate_limited("others' archives are written at this moment", TRY_AGAIN)
    })?;
    let allowed = http.services.limits.check_export(&caller.user);
    allowed.map_err(|wait| Problem::rate_limited("you had several archives lately", wait))?;
    let (pieces, body) = channel(1);
    let archive = Archive {
        services: Arc::clone(&http.services),
        user: caller.user.clone(),
        pieces: pieces.clone(),
        is_first: true,
    };
    supervise::spawn_part("archive", async move {
        let written = in_time(&pieces, archive.write()).await;
        // Before the end is told: whoever has it may have the next one.
        drop((own, turn));
        match written {
            // Where it is not taken, nobody reads any more.
            Ok(()) => drop(pieces.send(Piece::End).await),
            Err(error) => {
                tracing::warn!(%error, "an archive of what somebody wrote broke off");
            }
        }
    });
    let name = format!("attachment; filename=\"chinwag-{}.json\"", caller.user);
    let name = HeaderValue::from_str(&name).expect("a name is made of a-z, 0-9, _ and -");
    let kind = HeaderValue::from_static("application/json");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, body_of(body)).into_response())
}

/// Writes until it is done, nobody reads any more, or the time is over, also while nobody takes what was written; and
/// blanks meanwhile.
async fn in_time(
    pieces: &Sender<Piece>,
    writing: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let blanks = async {
        loop {
            sleep(BLANK_EVERY).await;
            let blank = Piece::Part(Bytes::from_static(b"\n"));
            if pieces.send(blank).await.is_err() {
                return Err(nobody_reads());
            }
        }
    };
    let written = timeout(LONGEST, async {
        tokio::select! {
            written = writing => written,
            nobody = blanks => nobody,
        }
    });
    let written = written.await;
    written.map_err(|_| io::Error::other("it took too long"))?
}

fn nobody_reads() -> io::Error {
    io::Error::other("nobody reads it any more")
}

/// The transfer breaks off where the end did not come, so that nobody takes half of it for all.
fn body_of(pieces: Receiver<Piece>) -> Body {
    Body::from_stream(unfold(Some(pieces), |pieces| async {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Part(part)) => Some((Ok(part), Some(pieces))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("it broke off")), None)),
        }
    }))
}

impl Archive {
    async fn write(mut self) -> io::Result<()> {
        let (user, at) = (json!(self.user), json!(rfc3339(now_ms())));
        let head = format!("{{\"user\":{user},\"exported_at\":{at},\"messages\":[");
        self.send(head.into()).await?;
        let seen = self.rooms_in_the_database().await?;
        self.rooms_beyond_it(&seen).await?;
        self.send(Bytes::from_static(b"],\"complete\":true}\n"))
            .await
    }

    /// The rooms in which the database has something of theirs. It finds the first of a room, and the room is read as
    /// anybody reads it, along with what is not in the database yet.
    async fn rooms_in_the_database(&mut self) -> io::Result<HashSet<String>> {
        let mut seen = HashSet::new();
        let mut next = Some(SentAt {
            room: String::new(),
            seq: 0,
        });
        while let Some(after) = next {
            let store = &self.services.store;
            let found = store.by_sender(&self.user, &after, FOUND).await;
            let found = found.map_err(io::Error::other)?;
            next = found.next;
            for message in found.messages {
                if seen.contains(&message.room) {
                    continue;
                }
                self.room(&message.room, 0).await?;
                // On behind all of it.
                if let Some(next) = next.as_mut().filter(|next| next.room == message.room) {
                    next.seq = SEQ_MAX;
                }
                seen.insert(message.room);
            }
        }
        Ok(seen)
    }

    /// Where all that they ever wrote was written just now, the database knows nothing of it yet.
    async fn rooms_beyond_it(&mut self, seen: &HashSet<String>) -> io::Result<()> {
        let unsettled = self.services.timeline.unsettled(UNSETTLED_ROOMS).await;
        let (_, rooms) = unsettled.map_err(io::Error::other)?;
        let back = UNSETTLED_FOR.as_millis() as u64;
        let since = now_ms().saturating_sub(back) * 1_000;
        for room in rooms {
            if !seen.contains(&room.room) {
                self.room(&room.room, since).await?;
            }
        }
        Ok(())
    }

    async fn room(&mut self, room: &str, mut after: Seq) -> io::Result<()> {
        loop {
            let page = own_messages(&self.services, &self.user, room, after).await;
            let Some((messages, last)) = page.map_err(io::Error::other)? else {
                return Ok(());
            };
            after = last;
            let mut part = String::new();
            for message in messages {
                let before = if std::mem::take(&mut self.is_first) {
                    "\n"
                } else {
                    ",\n"
                };
                part.push_str(before);
                part.push_str(&serde_json::to_string(&message)?);
            }
            if !part.is_empty() {
                self.send(part.into()).await?;
            }
        }
    }

    async fn send(&self, part: Bytes) -> io::Result<()> {
        let sent = self.pieces.send(Piece::Part(part)).await;
        sent.map_err(|_| nobody_reads())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::StreamExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_holds_it_no_longer_than_anybody() {
        let (pieces, body) = channel(1);
        let began = Instant::now();
        let writing = async {
            loop {
                let part = Piece::Part(Bytes::from_static(b"words"));
                pieces.send(part).await.map_err(|_| nobody_reads())?;
            }
        };
        in_time(&pieces, writing).await.unwrap_err();
        assert_eq!(began.elapsed(), LONGEST);
        drop(pieces);
        let parts: Vec<_> = body_of(body).into_data_stream().collect().await;
        assert!(parts.len() == 2 && parts[0].is_ok() && parts[1].is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn blanks_come_by_the_clock() {
        let (pieces, mut body) = channel(1);
        let began = Instant::now();
        tokio::spawn(async move { in_time(&pieces, pending()).await });
        for n in 1..=3 {
            assert!(matches!(body.recv().await, Some(Piece::Part(blank)) if &*blank == b"\n"));
            assert_eq!(began.elapsed(), BLANK_EVERY * n);
        }
    }
}
