//! A room's past, page by page.

use std::sync::Arc;

use axum::{
    Json,
    body::HttpBody,
    extract::State,
    response::{IntoResponse, Response},
};
use common::{
    names,
    timeline::PAGE_MAX_MESSAGES,
    wire::{Message, Seq},
};
use serde::{Deserialize, Serialize};

use super::{
    Http,
    body::{Address, Caller, InPath, InQuery},
};
use crate::{access::AccessError, problem::Problem};

/// Messages in a page, if the call does not say.
const PAGE_MESSAGES: usize = 50;

/// About what a message takes at most while an answer is made of it: 4,000 characters as they are kept, and escaped.
const MESSAGE_MAX_BYTES: usize = 40 * 1024;

/// How much what an answer stands on may grow when it is escaped.
const ESCAPED: usize = 2;

/// The highest `seq` that a database can be asked about.
const SEQ_MAX: Seq = i64::MAX as Seq;

#[derive(Deserialize)]
pub(super) struct Page {
    before: Option<Seq>,
    after: Option<Seq>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Messages {
    messages: Vec<Message>,
}

/// `GET /api/rooms/{room}/messages`: the last before a `seq`, the first after one, or the first of those between two;
/// with neither, the latest. Always ascending.
pub(super) async fn page(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    Address(address): Address,
    InPath(room): InPath<String>,
    InQuery(page): InQuery<Page>,
) -> Result<Response, Problem> {
    let limit = page.limit.unwrap_or(PAGE_MESSAGES).min(PAGE_MAX_MESSAGES);
    if limit == 0 {
        return Err(Problem::bad_request(format!(
            "`limit` is 1 to {PAGE_MAX_MESSAGES}"
        )));
    }
    names::check_room(&room).map_err(|_| AccessError::NotFound)?;
    http.services.access.room(&caller.user, &room).await?;
    // Taken before it is read: a hundred calls at once must not be a hundred pages in memory.
    let answers = &http.services.answers;
    let most = limit * MESSAGE_MAX_BYTES;
    let mut memory = answers.memory(Some(&caller.user), address, most).await?;
    let mut messages = match page.after {
        Some(after) => {
            let mut messages = http
                .services
                .timeline
                .after(&room, after.min(SEQ_MAX), limit)
                .await?;
            let before = page.before.unwrap_or(Seq::MAX);
            messages.retain(|message| message.seq < before);
            messages
        }
        None => {
            let before = page.before.unwrap_or(Seq::MAX);
            http.services.timeline.before(&room, before, limit).await?
        }
    };
    http.services.deleted_accounts.rename(&mut messages).await;
    // What answers stand on may be as long as they are, and few have any.
    let behind: usize = messages.iter().map(bytes_behind).sum();
    let more = match behind {
        0 => None,
        behind => {
            let more = answers.memory(Some(&caller.user), address, ESCAPED * behind);
            Some(more.await?)
        }
    };
    let mut answer = Json(Messages { messages }).into_response();
    let bytes = answer.body().size_hint().exact().unwrap_or(u64::MAX);
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    memory.shrink_to(bytes);
    if let Some(mut more) = more {
        more.shrink_to(bytes.saturating_sub(most));
        memory.join(more);
    }
    let admission = &http.services.admission;
    admission.user_was_answered(&caller.user, bytes);
    answer.extensions_mut().insert(Arc::new(memory));
    Ok(answer)
}

/// How long what an answer stands on is.
fn bytes_behind(message: &Message) -> usize {
    let sources = message.grounding.sources.iter();
    let sources: usize = sources
        .map(|source| source.title.len() + source.uri.len())
        .sum();
    let suggestions = message.grounding.suggestions.as_ref();
    sources + suggestions.map_or(0, String::len)
}
