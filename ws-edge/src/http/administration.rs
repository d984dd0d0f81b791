//! What administrators do: who is here, which rooms there are, who used how much of the models, and what was done by whom.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use common::{
    names,
    secret_token::{new_token, reset_path},
    store::{
        Actor, AuditLine, KeptRoom, ListedAccount, Session, Standing, StandingChanges, WaysIn,
        usage::{UsageAsked, UsageBy, UsageSum, check_day, day_of},
    },
    wire::now_seq,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Http,
    account::rfc3339,
    body::{Caller, InPath, InQuery, JsonBody},
    own_account::TheirMessages,
    sign_on::ShownIdentity,
    usage::{ShownBudget, budgets},
};
use crate::{problem::Problem, sessions::now_ms};

/// Lines in a page, if the call does not say, and at most.
const PAGE: usize = 200;
const PAGE_MAX: usize = 1_000;

/// How long a link to set a new password may be used.
const RESET_EXPIRES_IN: Duration = Duration::from_secs(24 * 60 * 60);

/// How far back the use of the models is summed, unless told.
const USAGE_DAYS: u64 = 30;

/// An administrator who is calling. Each deed asks once more, together with what it does.
pub(super) struct Administrator(Arc<Session>);

impl FromRequestParts<Arc<Http>> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, Problem> {
        let Caller(caller) = Caller::from_request_parts(parts, http).await?;
        if http
            .services
            .sessions
            .is_administrator(&caller.user)
            .await?
        {
            Ok(Administrator(caller))
        } else {
            Err(Problem::forbidden("only an administrator may do this"))
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ByName {
    after: Option<String>,
    limit: Option<usize>,
}

fn page_size(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE) {
        0 => Err(Problem::bad_request(format!("`limit` is 1 to {PAGE_MAX}"))),
        limit => Ok(limit.min(PAGE_MAX)),
    }
}

impl ByName {
    fn checked(&self) -> Result<(Option<&str>, usize), Problem> {
        let after = self.after.as_deref();
        if let Some(Err(why)) = after.map(names::check_room) {
            return Err(Problem::bad_request(format!("`after`: {why}")));
        }
        Ok((after, page_size(self.limit)?))
    }
}

/// Cuts a page that was read with one line more than it has. Returns the name of its last, if there are more.
fn next<T>(page: &mut Vec<T>, limit: usize, name: impl Fn(&T) -> &str) -> Option<String> {
    let is_more = page.len() > limit;
    page.truncate(limit);
    page.last()
        .filter(|_| is_more)
        .map(|last| name(last).to_owned())
}

#[derive(Serialize)]
struct Users {
    users: Vec<ShownAccount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct ShownAccount {
    name: String,
    #[serde(flatten)]
    standing: Standing,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_at: Option<String>,
    sessions: u64,
    rooms: u64,
}

impl From<ListedAccount> for ShownAccount {
    fn from(account: ListedAccount) -> ShownAccount {
        ShownAccount {
            name: account.name,
            standing: account.standing,
            created_at: rfc3339(account.created_at_ms),
            last_seen_at: account.last_seen_at_ms.map(rfc3339),
            sessions: account.sessions,
            rooms: account.rooms,
        }
    }
}

/// `GET /api/admin/users`.
pub(super) async fn users(
    State(http): State<Arc<Http>>,
    Administrator(_): Administrator,
    InQuery(page): InQuery<ByName>,
) -> Result<Response, Problem> {
    let (after, limit) = page.checked()?;
    let mut users = http
        .services
        .store
        .accounts_listed(after, limit + 1)
        .await?;
    let next = next(&mut users, limit, |account| &account.name);
    let users = users.into_iter().map(ShownAccount::from).collect();
    Ok(Json(Users { users, next }).into_response())
}

#[derive(Deserialize)]
pub(super) struct Changes {
    admin: Option<bool>,
    disabled: Option<bool>,
    program: Option<bool>,
}

#[derive(Serialize)]
struct ChangedAccount<'a> {
    name: &'a str,
    #[serde(flatten)]
    standing: Standing,
}

fn nobody() -> Problem {
    Problem::not_found("there is no such account")
}

/// `PATCH /api/admin/users/{user}`.
pub(super) async fn change(
    State(http): State<Arc<Http>>,
    Administrator(caller): Administrator,
    InPath(user): InPath<String>,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Response, Problem> {
    let changes = StandingChanges {
        admin: changes.admin,
        disabled: changes.disabled,
        program: changes.program,
    };
    if changes == StandingChanges::default() {
        return Err(Problem::bad_request("say `disabled`, `admin` or `program`"));
    }
    let actor = Actor::Account(&caller.user);
    let store = &http.services.store;
    let changed = store.change_standing(actor, &user, changes).await?;
    let (standing, ended) = changed.ok_or_else(nobody)?;
    http.services.programs.forget();
    http.tell_ended(ended).await;
    let name = &*user;
    Ok(Json(ChangedAccount { name, standing }).into_response())
}

#[derive(Serialize)]
struct ResetLink<'a> {
    user: &'a str,
    /// Shown once, to whoever made it.
    token: &'a str,
    /// The same as what to open, below this server's address.
    link: String,
    expires_at: String,
}

/// `POST /api/admin/users/{user}/reset`.
pub(super) async fn make_reset(
    State(http): State<Arc<Http>>,
    Administrator(caller): Administrator,
    InPath(user): InPath<String>,
) -> Result<Response, Problem> {
    http.passwords_are_on()?;
    let token = new_token();
    let expires_at_ms = now_ms() + RESET_EXPIRES_IN.as_millis() as u64;
    let (store, actor) = (&http.services.store, Actor::Account(&caller.user));
    let made = store.make_reset(actor, &user, &token.hash, expires_at_ms);
    if !made.await? {
        return Err(nobody());
    }
    let link = ResetLink {
        user: &user,
        token: &token.token,
        link: format!("{}{}", http.base_path, reset_path(&token.token)),
        expires_at: rfc3339(expires_at_ms),
    };
    Ok((StatusCode::CREATED, Json(link)).into_response())
}

#[derive(Serialize)]
struct ShownWaysIn {
    /// Whether they have a password that they can log in with.
    password: bool,
    identities: Vec<ShownIdentity>,
}

impl ShownWaysIn {
    fn new(ways: WaysIn, are_passwords_on: bool) -> ShownWaysIn {
        ShownWaysIn {
            password: ways.password && are_passwords_on,
            identities: ways.identities.into_iter().map(Into::into).collect(),
        }
    }
}

/// `GET /api/admin/users/{user}/identities`: by what somebody gets in.
pub(super) async fn ways_in(
    State(http): State<Arc<Http>>,
    Administrator(_): Administrator,
    InPath(user): InPath<String>,
) -> Result<Response, Problem> {
    let ways = http.services.store.ways_in(&user).await?;
    let ways = ways.ok_or_else(nobody)?;
    Ok(Json(ShownWaysIn::new(ways, http.are_passwords_on)).into_response())
}

/// `DELETE /api/admin/users/{user}/identities/{id}`: also the last way in, since whoever administers can give another.
pub(super) async fn take_identity(
    State(http): State<Arc<Http>>,
    Administrator(caller): Administrator,
    InPath((user, id)): InPath<(String, Uuid)>,
) -> Result<Response, Problem> {
    let (store, actor) = (&http.services.store, Actor::Account(&caller.user));
    let left = store.take_identity(actor, &user, id).await?;
    let left =
        left.ok_or_else(|| Problem::not_found("no such identity leads into this account"))?;
    Ok(Json(ShownWaysIn::new(left, http.are_passwords_on)).into_response())
}

#[derive(Deserialize)]
pub(super) struct Deletion {
    messages: Option<TheirMessages>,
}

/// `DELETE /api/admin/users/{user}`.
pub(super) async fn delete(
    State(http): State<Arc<Http>>,
    Administrator(caller): Administrator,
    InPath(user): InPath<String>,
    InQuery(Deletion { messages }): InQuery<Deletion>,
) -> Result<StatusCode, Problem> {
    let (store, actor) = (&http.services.store, Actor::Account(&caller.user));
    let with_messages = messages == Some(TheirMessages::Delete);
    let deleted = store
        .delete_account(actor, &user, None, with_messages)
        .await?;
    http.services.deleted_accounts.forget();
    http.tell_ended(deleted.ok_or_else(nobody)?).await;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct KeptRooms {
    rooms: Vec<ShownRoom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct ShownRoom {
    name: String,
    owner: String,
    private: bool,
    members: u64,
    latest: u64,
    created_at: String,
}

impl From<KeptRoom> for ShownRoom {
    fn from(room: KeptRoom) -> ShownRoom {
        ShownRoom {
            name: room.name,
            owner: room.owner,
            private: room.private,
            members: room.members,
            latest: room.latest,
            created_at: rfc3339(room.created_at_ms),
        }
    }
}

/// `GET /api/admin/rooms`: that they are there, and nothing of what is said in them.
pub(super) async fn rooms(
    State(http): State<Arc<Http>>,
    Administrator(_): Administrator,
    InQuery(page): InQuery<ByName>,
) -> Result<Response, Problem> {
    let (after, limit) = page.checked()?;
    let mut rooms = http.services.store.rooms_kept(after, limit + 1).await?;
    let next = next(&mut rooms, limit, |room| &room.name);
    let rooms = rooms.into_iter().map(ShownRoom::from).collect();
    Ok(Json(KeptRooms { rooms, next }).into_response())
}

#[derive(Deserialize)]
pub(super) struct AskedUsage {
    by: Option<String>,
    since: Option<String>,
    until: Option<String>,
    person: Option<String>,
    room: Option<String>,
}

#[derive(Serialize)]
struct Usage {
    since: String,
    until: String,
    sums: Vec<UsageSum>,
    budgets: Vec<ShownBudget>,
}

/// `GET /api/admin/usage`.
pub(super) async fn usage(
    State(http): State<Arc<Http>>,
    Administrator(_): Administrator,
    InQuery(asked): InQuery<AskedUsage>,
) -> Result<Response, Problem> {
    let AskedUsage {
        by,
        since,
        until,
        person,
        room,
    } = asked;
    let by = by.as_deref().unwrap_or("user").split(',').map(|word| {
        let known = UsageBy::ALL.into_iter().find(|by| by.as_str() == word);
        known.ok_or_else(|| {
            Problem::bad_request("`by` is of day, room, user and model, with commas")
        })
    });
    let day = |day: Option<String>, ago: u64| match day {
        Some(day) => check_day(&day).map_err(Problem::bad_request),
        None => Ok(day_of(
            Duration::from_millis(now_ms()) - Duration::from_secs(ago * 24 * 3_600),
        )),
    };
    let asked = UsageAsked {
        by: by.collect::<Result<_, Problem>>()?,
        since: day(since, USAGE_DAYS)?,
        until: day(until, 0)?,
    };
    let sums = http.services.store.usage_sums(&asked).await?;
    let (now, of_person) = (now_seq(), person.as_deref().unwrap_or_default());
    // The sums are there also while what is left cannot be told.
    let view = http.spent(of_person, room.as_deref(), now).await;
    let view = view.unwrap_or_default();
    let usage = Usage {
        since: asked.since,
        until: asked.until,
        sums,
        budgets: budgets(&view, person.as_deref(), room.as_deref(), now),
    };
    Ok(Json(usage).into_response())
}

#[derive(Deserialize)]
pub(super) struct AskedAudit {
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Audit {
    entries: Vec<ShownLine>,
    /// What the next page is to come before, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Serialize)]
struct ShownLine {
    id: u64,
    at: String,
    /// None is the operator, at the command line.
    actor: Option<String>,
    deed: String,
    subject: String,
    detail: String,
}

impl From<AuditLine> for ShownLine {
    fn from(line: AuditLine) -> ShownLine {
        ShownLine {
            id: line.id,
            at: rfc3339(line.at_ms),
            actor: Some(line.actor).filter(|actor| !actor.is_empty()),
            deed: line.deed,
            subject: line.subject,
            detail: line.detail,
        }
    }
}

/// `GET /api/admin/audit`: the newest first.
pub(super) async fn audit(
    State(http): State<Arc<Http>>,
    Administrator(_): Administrator,
    InQuery(AskedAudit { before, limit }): InQuery<AskedAudit>,
) -> Result<Response, Problem> {
    let limit = page_size(limit)?;
    let mut lines = http.services.store.audit(before, limit + 1).await?;
    let is_more = lines.len() > limit;
    lines.truncate(limit);
    let next = lines.last().filter(|_| is_more).map(|line| line.id);
    let entries = lines.into_iter().map(ShownLine::from).collect();
    Ok(Json(Audit { entries, next }).into_response())
}
