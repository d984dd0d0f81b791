//! Rooms: which there are, making and changing them, and who may see the private ones.

use std::{num::NonZeroU32, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{
    live::Control,
    names,
    store::{
        BotChoices, BotPolicy, HandOver, Invited, ListedRoom, PERSONA_MAX_CHARS,
        RETENTION_DAYS_MAX, Room, RoomChanges, RoomKeeper, Session, StoreError, TITLE_MAX_CHARS,
        TOPIC_MAX_CHARS,
    },
    wire::says_nothing,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tokio::time::{Duration, timeout};

use super::{
    Http,
    body::{Caller, InPath, InQuery, JsonBody},
    bot::WantedChoices,
};
use crate::{access::AccessError, problem::Problem};

/// Rooms in a page of the list, if the call does not say.
const PAGE_ROOMS: usize = 200;

/// The most rooms in one.
const PAGE_MAX_ROOMS: usize = 1_000;

/// How long a call waits until all that was said in a room is gone; the rest goes on behind it.
const ERASE_PATIENCE: Duration = Duration::from_secs(5);

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
    let admission = &http.services.admission;
    admission.user_was_listed(&caller.user, rooms.len());
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
    title: Option<String>,
    topic: Option<String>,
    bot_answers_programs: Option<bool>,
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
        title: check_title(new.title.unwrap_or_default())?,
        topic: check_topic(new.topic.unwrap_or_default())?,
        retention_days: None,
        choices: BotChoices::default(),
        bot_answers_programs: new.bot_answers_programs.unwrap_or(false),
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
    /// Who of them, or of its owner, is a program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    programs: Vec<String>,
}

/// `GET /api/rooms/{room}/members`.
pub(super) async fn members(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let room = seen_room(&http, &name, &caller.user).await?;
    let store = &http.services.store;
    let members = store.members(&name).await?;
    let programs = store.programs().await?;
    let people = members.iter().chain([&room.owner]);
    let programs = people.filter(|name| programs.contains(*name));
    let programs = programs.cloned().collect();
    Ok(Json(Members { members, programs }).into_response())
}

#[derive(Default, PartialEq, Eq, Deserialize)]
pub(super) struct Changes {
    private: Option<bool>,
    bot: Option<BotPolicy>,
    persona: Option<String>,
    title: Option<String>,
    topic: Option<String>,
    bot_answers_programs: Option<bool>,
    owner: Option<String>,
    #[serde(default, deserialize_with = "given")]
    retention_days: Option<Value>,
    #[serde(flatten)]
    choices: WantedChoices,
}

/// A field that may be `null`, which says something else than leaving it out.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(field).map(Some)
}

/// `PATCH /api/rooms/{room}`.
pub(super) async fn change(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Response, Problem> {
    let is_only_handed_over = changes.owner.is_some()
        && changes
            == Changes {
                owner: changes.owner.clone(),
                ..Changes::default()
            };
    let room = match is_only_handed_over {
        true => kept_room(&http, &name, &caller).await?,
        false => owned_room(&http, &name, &caller.user).await?,
    };
    // Users are found under their own names, so theirs are not for everybody to walk into.
    if room.name == room.owner && changes.private == Some(false) {
        return Err(Problem::forbidden("your own room stays private"));
    }
    let by = keeper(&room, &caller);
    let hand_over = changes.owner.map(|to| HandOver {
        from: room.owner.clone(),
        to,
        owned_max: http.people.rooms().owned,
    });
    let changes = RoomChanges {
        private: changes.private,
        bot: changes.bot,
        persona: changes.persona.map(check_persona).transpose()?,
        title: changes.title.map(check_title).transpose()?,
        topic: changes.topic.map(check_topic).transpose()?,
        retention_days: changes.retention_days.map(check_days).transpose()?,
        choices: changes.choices.checked(&http.services).await?,
        bot_answers_programs: changes.bot_answers_programs,
        hand_over,
    };
    let room = match http.services.store.change_room(&name, &changes, by).await {
        // The room is there, but nobody to take it over.
        Err(StoreError::NotFound(why)) => {
            return Err(Problem::bad_request_as(StatusCode::CONFLICT, why));
        }
        changed => changed?.ok_or(AccessError::NotFound)?,
    };
    http.tell(Control::RoomChanged { room: name }).await;
    Ok(Json(room).into_response())
}

/// How many days a room is to keep what is said in it; `null` takes the room's own setting away.
fn check_days(days: Value) -> Result<Option<NonZeroU32>, Problem> {
    if days.is_null() {
        return Ok(None);
    }
    let days = days.as_u64().and_then(|days| u32::try_from(days).ok());
    let days = days.filter(|days| *days <= RETENTION_DAYS_MAX);
    match days.and_then(NonZeroU32::new) {
        Some(days) => Ok(Some(days)),
        None => Err(Problem::bad_request(format!(
            "`retention_days` is a whole number of days from 1 to {RETENTION_DAYS_MAX}, or null: then the room keeps what is \
             said in it as long as the server does"
        ))),
    }
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

fn check_title(title: String) -> Result<String, Problem> {
    check_line("title", &title, TITLE_MAX_CHARS)
}

/// A name that somebody gives something, in one line.
pub(super) fn check_line(field: &str, words: &str, most: usize) -> Result<String, Problem> {
    check_words(field, words, most, |c| !is_control(c))
}

fn check_topic(topic: String) -> Result<String, Problem> {
    let no_control = |c: char| !is_control(c) || c == '\n';
    check_words("topic", &topic, TOPIC_MAX_CHARS, no_control)
}

/// What is shown of a room to everybody: any characters but those that would have it look like something else. What shows
/// nothing is nothing.
fn check_words(
    field: &str,
    words: &str,
    most: usize,
    may_be: impl Fn(char) -> bool,
) -> Result<String, Problem> {
    let words = words.trim();
    if let Some(bad) = words.chars().find(|c| !may_be(*c)) {
        return Err(Problem::bad_request(format!(
            "`{field}` has a control character in it, or a sign that stands for one: {bad:?}"
        )));
    }
    let chars = words.chars().count();
    if chars > most {
        let detail = format!("`{field}` may have {most} characters; this one has {chars}");
        return Err(Problem::too_large(detail));
    }
    if !words.is_empty() && says_nothing(words) {
        let detail = format!("nothing of `{field}` can be seen");
        return Err(Problem::bad_request(detail));
    }
    Ok(words.to_owned())
}

/// Control characters, line and paragraph separators, what turns the direction of the text around it, and the signs that
/// stand for control characters.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2400}'..='\u{2426}'
        )
}

/// `DELETE /api/rooms/{room}`: the owner, or an administrator.
pub(super) async fn delete(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    let services = &http.services;
    let room = kept_room(&http, &name, &caller).await?;
    let by = keeper(&room, &caller);
    if !services.store.delete_room(&name, by).await? {
        return Err(AccessError::NotFound.into());
    }
    http.tell(Control::RoomChanged { room: name.clone() }).await;
    // What takes longer goes on behind the call; should this process die, others find it.
    let erasing = Arc::clone(services);
    let erased = http.behind.spawn(async move { erasing.erase(&name).await });
    drop(timeout(ERASE_PATIENCE, erased).await);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct Bans {
    bans: Vec<String>,
}

/// `GET /api/rooms/{room}/bans`.
pub(super) async fn bans(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    owned_room(&http, &name, &caller.user).await?;
    let bans = http.services.store.bans(&name).await?;
    Ok(Json(Bans { bans }).into_response())
}

/// `PUT /api/rooms/{room}/bans/{user}`.
pub(super) async fn ban(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath((name, user)): InPath<(String, String)>,
) -> Result<StatusCode, Problem> {
    owned_room(&http, &name, &caller.user).await?;
    // Administrators like anybody: an owner could tell who is one otherwise. What they administer they need not see.
    if !http.services.store.ban(&name, &user, &caller.user).await? {
        return Err(no_such_user());
    }
    http.tell(Control::RoomChanged { room: name }).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/rooms/{room}/bans/{user}`. To lift a ban that there is not is no error.
pub(super) async fn lift_ban(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath((name, user)): InPath<(String, String)>,
) -> Result<StatusCode, Problem> {
    owned_room(&http, &name, &caller.user).await?;
    if http
        .services
        .store
        .lift_ban(&name, &user, &caller.user)
        .await?
    {
        http.tell(Control::RoomChanged { room: name }).await;
    } else if http.services.store.password_hash(&user).await?.is_none() {
        return Err(no_such_user());
    }
    Ok(StatusCode::NO_CONTENT)
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
        return Err(Problem::forbidden(
            "a room's owner stays in it, until it is handed over to somebody else",
        ));
    }
    if names::check_user(&user).is_err() {
        return Err(no_such_user());
    }
    if http
        .services
        .store
        .remove_member(&name, &user, &caller.user)
        .await?
    {
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

/// A room for its owner, or for an administrator, who need not see it.
async fn kept_room(http: &Http, name: &str, caller: &Session) -> Result<Room, Problem> {
    let user = &*caller.user;
    match owned_room(http, name, user).await {
        Ok(room) => Ok(room),
        // A program administrates nothing.
        Err(problem) if caller.is_token => Err(problem),
        Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE => Err(problem),
        Err(problem) => match http.services.sessions.is_administrator(user).await? {
            true => Ok(http.services.store.room(name).await?.ok_or(problem)?),
            false => Err(problem),
        },
    }
}

/// What somebody is to a room that is kept for them.
fn keeper<'a>(room: &Room, caller: &'a Session) -> RoomKeeper<'a> {
    match room.owner == caller.user {
        true => RoomKeeper::Owner(&caller.user),
        false => RoomKeeper::Administrator(&caller.user),
    }
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
