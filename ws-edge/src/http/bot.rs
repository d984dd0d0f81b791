//! What the bot has for rooms to choose from, and what is to be shown along with an answer of its that looked things up.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use common::{
    live::BotOffer,
    names,
    store::{BotChoices, ChoiceChanges, MODEL_NAME_MAX_BYTES, Thinking},
};
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Http,
    body::{Caller, InPath},
};
use crate::{access::AccessError, problem::Problem, services::Services};

/// How long a call waits for the first word of a worker, each of which says it every few seconds.
const FIRST_WORD_PATIENCE: Duration = Duration::from_secs(3);

/// What may be in what a search engine asks to be shown: its own styles and pictures in its own text, and links, which open
/// beside the page. No scripts, and nothing of the page's: the document has no origin.
const SUGGESTIONS_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
     style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'self'";

/// Stands before it: whatever is clicked leads out of the frame.
const SUGGESTIONS_HEAD: &str = "<!doctype html><meta charset=\"utf-8\"><base target=\"_blank\"><title>Search suggestions</title>\n";

/// `GET /api/bot`: the models that rooms may choose, and what else they may.
pub(super) async fn offers(State(http): State<Arc<Http>>, Caller(_): Caller) -> Response {
    Json(known_offer(&http.services).await.unwrap_or_default()).into_response()
}

/// What the workers offer; none if none of them was heard yet.
async fn known_offer(services: &Services) -> Option<BotOffer> {
    let mut heard = services.bot.subscribe();
    let first = timeout(FIRST_WORD_PATIENCE, heard.wait_for(Option::is_some)).await;
    first.ok()?.ok()?.clone()
}

/// `GET /api/rooms/{room}/messages/{id}/suggestions`: HTML of a search engine's, for a frame of its own.
pub(super) async fn suggestions(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath((room, id)): InPath<(String, Uuid)>,
) -> Result<Response, Problem> {
    names::check_room(&room).map_err(|_| AccessError::NotFound)?;
    http.services.access.room(&caller.user, &room).await?;
    let message = http.services.timeline.find(&room, id).await?;
    let html = message
        .filter(|message| !message.deleted)
        .and_then(|message| message.grounding.suggestions)
        .ok_or_else(|| Problem::not_found("nothing is to be shown along with this message"))?;
    let mut answer = Html(format!("{SUGGESTIONS_HEAD}{html}")).into_response();
    answer.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(SUGGESTIONS_POLICY),
    );
    Ok(answer)
}

/// What a call wants changed of a room's choices of the bot: what is left out stays, `null` takes a choice back.
#[derive(Default, PartialEq, Eq, Deserialize)]
pub(super) struct WantedChoices {
    #[serde(default, deserialize_with = "given")]
    model: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    thinking: Option<Option<Thinking>>,
    #[serde(default, deserialize_with = "given")]
    search: Option<Option<bool>>,
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl WantedChoices {
    /// The changes, if they are among what the workers offer. As long as none of them was heard, anything goes that looks
    /// right: what they do not have is as if it were not chosen.
    pub(super) async fn checked(self, services: &Services) -> Result<ChoiceChanges, Problem> {
        let changes = ChoiceChanges {
            model: self.model,
            thinking: self.thinking,
            search: self.search.map(Option::unwrap_or_default),
        };
        let BotChoices { model, search, .. } = changes.over(BotChoices::default());
        if model.is_none() && !search {
            return Ok(changes);
        }
        let offer = known_offer(services).await;
        if let Some(model) = model {
            let is_name = !model.is_empty()
                && model.len() <= MODEL_NAME_MAX_BYTES
                && !model.contains(|c: char| c.is_whitespace() || c.is_control());
            let models = offer.as_ref().map(|offer| &offer.models);
            let is_offered = models.is_none_or(|all| all.iter().any(|one| one.id == model));
            if !is_name || !is_offered {
                return Err(Problem::bad_request(
                    "`model`: no model that this server lets rooms choose; `GET /api/bot` lists them",
                ));
            }
        }
        if search && offer.is_some_and(|offer| !offer.search) {
            return Err(Problem::bad_request(
                "`search`: on this server the bot looks nothing up (BOT_SEARCH)",
            ));
        }
        Ok(changes)
    }
}
