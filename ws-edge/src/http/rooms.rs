//! Rooms: which there are, making and changing them, and who may see the private ones.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{
    live::Control,
    names,
    store::{BotPolicy, Invited, ListedRoom, PERSONA_MAX_CHARS, Room, RoomChanges, StoreError},
};
use serde::{Deserialize, Serialize};

use super::{
    Http,
    body::{Caller, InPath, InQuery, JsonBody},
};
use crate::{access::AccessError, problem::Problem};

/// Rooms in a page of the list, if the call does not say.
const PAGE_ROOMS: usize = 200;

/// The most rooms in one.
const PAGE_MAX_ROOMS: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Listing {
    rooms: Vec<ListedRoom>,
    /// What the next page is to come after, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /api/rooms`: those one is in, those one is invited to, public ones.
pub(super) async fn list(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InQuery(page): InQuery<Page>,
) -> Result<Response, Problem> {
    let limit = page.limit.unwrap_or(PAGE_ROOMS).min(PAGE_MAX_ROOMS);
    if limit == 0 {
        return Err(Problem::bad_request(format!(
            "`limit` is 1 to {PAGE_MAX_ROOMS}"
        )));
    }
    let after = page.after.as_deref();
    if let Some(Err(why)) = after.map(names::check_room) {
        return Err(Problem::bad_request(format!("`after`: {why}")));
    }
    let store = &http.services.store;
    // One more shows whether there are more.
    let mut rooms = store.rooms_listed(&caller.user, after, limit + 1).await?;
    let is_more = rooms.len() > limit;
    rooms.truncate(limit);
    for room in &mut rooms {
        room.latest = room.latest.max(http.sockets.latest_shown(&room.name));
    }
    let next = rooms.last().filter(|_| is_more);
    let next = next.map(|room| room.name.clone());
    Ok(Json(Listing { rooms, next }).into_response())
}

#[derive(Deserialize)]
pub(super) struct NewRoom {
    name: String,
    private: Option<bool>,
    bot: Option<BotPolicy>,
    persona: Option<String>,
}

/// `POST /api/rooms`.
pub(super) async fn create(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    JsonBody(new): JsonBody<NewRoom>,
) -> Result<Response, Problem> {
    names::check_room(&new.name).map_err(|why| Problem::bad_request(format!("`name`: {why}")))?;
    if names::is_reserved(&new.name) {
        return Err(StoreError::Taken.into());
    }
    let room = Room {
        name: new.name,
        private: new.private.unwrap_or(false),
        bot: new.bot.unwrap_or(BotPolicy::Mention),
        persona: check_persona(new.persona.unwrap_or_default())?,
        owner: caller.user.clone(),
    };
    let limits = http.people.rooms();
    http.services
        .store
        .create_room_within(&room, limits)
        .await?;
    // Somebody may have asked for it a moment ago, when it was not there.
    http.services.access.forget(&room.name);
    let location = HeaderValue::from_str(&format!("{}/api/rooms/{}", http.base_path, room.name));
    let location = location.expect("a room's name is made of a-z, 0-9, _ and -");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(room),
    )
        .into_response())
}

/// `GET /api/rooms/{room}`.
pub(super) async fn show(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let room = seen_room(&http, &name, &caller.user).await?;
    let invited_by = match room.owner == caller.user {
        true => None,
        false => http.services.store.membership(&name, &caller.user).await?,
    };
    let invited_by = invited_by.and_then(|membership| membership.invited_by);
    Ok(Json(Shown { room, invited_by }).into_response())
}

/// A room as somebody sees it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    room: Room,
    #[serde(skip_serializing_if = "Option::is_none")]
    invited_by: Option<String>,
}

#[derive(Serialize)]
struct Members {
    members: Vec<String>,
}

/// `GET /api/rooms/{room}/members`.
pub(super) async fn members(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    seen_room(&http, &name, &caller.user).await?;
    let members = http.services.store.members(&name).await?;
    Ok(Json(Members { members }).into_response())
}

#[derive(Deserialize)]
pub(super) struct Changes {
    private: Option<bool>,
    bot: Option<BotPolicy>,
    persona: Option<String>,
}

/// `PATCH /api/rooms/{room}`.
pub(super) async fn change(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Response, Problem> {
    let room = owned_room(&http, &name, &caller.user).await?;
    // Users are found under their own names, so theirs are not for everybody to walk into.
    if room.name == room.owner && changes.private == Some(false) {
        return Err(Problem::forbidden("your own room stays private"));
    }
    let changes = RoomChanges {
        private: changes.private,
        bot: changes.bot,
        persona: changes.persona.map(check_persona).transpose()?,
    };
    let room = http.services.store.change_room(&name, &changes).await?;
    let room = room.ok_or(AccessError::NotFound)?;
    http.tell(Control::RoomChanged { room: name }).await;
    Ok(Json(room).into_response())
}

fn check_persona(persona: String) -> Result<String, Problem> {
    let persona = persona.trim();
    let chars = persona.chars().count();
    if chars > PERSONA_MAX_CHARS {
        let detail =
            format!("`persona` may have {PERSONA_MAX_CHARS} characters; this one has {chars}");
        return Err(Problem::too_large(detail));
    }
    Ok(persona.to_owned())
}

/// `PUT /api/rooms/{room}/members/{user}`: the owner invites somebody, or who is invited takes it.
pub(super) async fn add_member(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath((name, user)): InPath<(String, String)>,
) -> Result<StatusCode, Problem> {
    let room = seen_room(&http, &name, &caller.user).await?;
    if user == room.owner && user == caller.user {
        return Ok(StatusCode::NO_CONTENT);
    }
    if user == caller.user {
        return take_invitation(&http, name, &user).await;
    }
    if caller.user != room.owner {
        return Err(not_yours());
    }
    let (store, by) = (&http.services.store, room.owner);
    match store.invite(&name, &user, &by).await? {
        Invited::Now => {
            let room = name.clone();
            http.tell(Control::RoomChanged { room: name }).await;
            http.announce(Control::Invited { user, room, by }).await;
            Ok(StatusCode::NO_CONTENT)
        }
        Invited::Already => Ok(StatusCode::NO_CONTENT),
        Invited::Nobody => Err(no_such_user()),
    }
}

async fn take_invitation(http: &Http, room: String, user: &str) -> Result<StatusCode, Problem> {
    let store = &http.services.store;
    if store.take_invitation(&room, user).await? {
        http.tell(Control::RoomChanged { room }).await;
    } else if store.membership(&room, user).await?.is_none() {
        return Err(Problem::forbidden("nobody has invited you to this room"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/rooms/{room}/members/{user}`. A member may go, an owner may send away. To send away who was no member is
/// no error.
pub(super) async fn remove_member(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath((name, user)): InPath<(String, String)>,
) -> Result<StatusCode, Problem> {
    let room = seen_room(&http, &name, &caller.user).await?;
    if caller.user != room.owner && caller.user != user {
        return Err(not_yours());
    }
    if user == room.owner {
        return Err(Problem::forbidden("a room's owner stays in it"));
    }
    if names::check_user(&user).is_err() {
        return Err(no_such_user());
    }
    if http.services.store.remove_member(&name, &user).await? {
        http.tell(Control::RoomChanged { room: name }).await;
    } else if http.services.store.password_hash(&user).await?.is_none() {
        return Err(no_such_user());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// As the database has it now: what is remembered for reading is too old to write by.
async fn seen_room(http: &Http, name: &str, user: &str) -> Result<Room, Problem> {
    names::check_room(name).map_err(|_| AccessError::NotFound)?;
    let room = http.services.store.room_seen_by(name, user).await?;
    Ok(room.ok_or(AccessError::NotFound)?)
}

async fn owned_room(http: &Http, name: &str, user: &str) -> Result<Room, Problem> {
    let room = seen_room(http, name, user).await?;
    if room.owner == user {
        Ok(room)
    } else {
        Err(not_yours())
    }
}

fn not_yours() -> Problem {
    Problem::forbidden("only the room's owner may do this")
}

fn no_such_user() -> Problem {
    Problem::not_found("there is no such user")
}
