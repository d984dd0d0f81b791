//! `GET /api/me/export`: everything somebody wrote, as one JSON document, written while it is read: of any number of messages
//! there is a page in memory.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use common::wire::Seq;
use futures_util::stream::try_unfold;
use serde_json::json;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Http, account::rfc3339, body::Caller};
use crate::{departures::own_messages, problem::Problem, services::Services, sessions::now_ms};

/// How many rooms' names are read at a time.
const ROOMS: usize = 200;

/// The longest that an archive may take: whoever reads it slowly keeps others from theirs.
const LONGEST: Duration = Duration::from_secs(600);

/// When to come again while others' are written.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// An archive that is being written.
struct Archive {
    services: Arc<Services>,
    user: String,
    rooms: VecDeque<String>,
    after_room: String,
    after: Seq,
    stage: Stage,
    is_first: bool,
    until: Instant,
    _turn: OwnedSemaphorePermit,
}

enum Stage {
    Head,
    Messages,
    Done,
}

/// Each looks through every room that there is, so few are written at a time.
pub(super) async fn export(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
) -> Result<Response, Problem> {
    let turn = Arc::clone(&http.exports).try_acquire_owned();
    let turn = turn.map_err(|_| {
        Problem::rate_limited("others' archives are written at this moment", TRY_AGAIN)
    })?;
    let allowed = http.services.limits.check_export(&caller.user);
    allowed.map_err(|wait| Problem::rate_limited("you had several archives lately", wait))?;
    let archive = Archive {
        services: Arc::clone(&http.services),
        user: caller.user.clone(),
        rooms: VecDeque::new(),
        after_room: String::new(),
        after: 0,
        stage: Stage::Head,
        is_first: true,
        until: Instant::now() + LONGEST,
        _turn: turn,
    };
    let body = Body::from_stream(try_unfold(archive, |mut archive| async {
        let piece = archive.piece().await.inspect_err(|error| {
            // The transfer breaks off, so that nobody takes half of it for all.
            tracing::warn!(%error, "an archive of what somebody wrote broke off");
        })?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, archive)))
    }));
    let name = format!("attachment; filename=\"chinwag-{}.json\"", caller.user);
    let name = HeaderValue::from_str(&name).expect("a name is made of a-z, 0-9, _ and -");
    let kind = HeaderValue::from_static("application/json");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, body).into_response())
}

impl Archive {
    /// What comes next; none after the last. Where a page of a room has nothing of theirs it is a blank, so that whoever reads
    /// sees that it goes on.
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if Instant::now() > self.until {
            return Err(io::Error::other("it took too long"));
        }
        match self.stage {
            Stage::Head => {
                self.stage = Stage::Messages;
                let (user, at) = (json!(self.user), json!(rfc3339(now_ms())));
                let head = format!("{{\"user\":{user},\"exported_at\":{at},\"messages\":[");
                Ok(Some(head.into()))
            }
            Stage::Messages => self.messages().await.map(Some),
            Stage::Done => Ok(None),
        }
    }

    async fn messages(&mut self) -> io::Result<Bytes> {
        if self.rooms.is_empty() {
            let rooms = self
                .services
                .store
                .room_names(&self.after_room, ROOMS)
                .await;
            self.rooms = rooms.map_err(io::Error::other)?.into();
        }
        let Some(room) = self.rooms.front() else {
            self.stage = Stage::Done;
            return Ok(Bytes::from_static(b"],\"complete\":true}\n"));
        };
        let page = own_messages(&self.services, &self.user, room, self.after).await;
        let Some((messages, last)) = page.map_err(io::Error::other)? else {
            self.after_room = self.rooms.pop_front().unwrap_or_default();
            self.after = 0;
            return Ok(Bytes::from_static(b"\n"));
        };
        self.after = last;
        let mut piece = String::from("\n");
        for message in messages {
            if !std::mem::take(&mut self.is_first) {
                piece.push_str(",\n");
            }
            piece.push_str(&serde_json::to_string(&message)?);
        }
        Ok(piece.into())
    }
}
