//! Who is calling: tokens, the sessions they stand for, and a short memory of those lately seen, so that ten thousand
//! sockets that come back at once are not ten thousand questions to the database.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::{HeaderMap, header};
use common::{
    secret_token::{TokenHash, hash_of},
    store::{Session, Store, StoreError},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::problem::Problem;

/// The scheme of a token that is named.
const BEARER: &[u8] = b"bearer";

/// The characters of a token.
const TOKEN_CHARS: usize = 64;

/// What the tokens of programs begin with, so that one that is found somewhere can be told for what it is.
pub(crate) const PROGRAM_TOKEN: &str = "chinwag_";

/// The cookie that carries the token.
const COOKIE: &str = "session";
/// The same where it is only sent over TLS: browsers let nobody else set it, no page on a neighbouring name either.
const SECURE_COOKIE: &str = "__Host-session";

/// How long a session is believed without asking the database. A revocation clears it at once on every edge; this is
/// the second wall, for an edge that the control message did not reach.
const FRESH: Duration = Duration::from_secs(30);

/// How long a session is believed while the database does not answer. While it does not, nobody can revoke either.
const STALE: Duration = Duration::from_secs(600);

/// The most sessions remembered; about 400 bytes each.
const REMEMBERED_MAX: usize = 50_000;

/// How long a revoked session is known as such: longer than any call or upgrade that began before it was revoked.
const REVOKED_KNOWN: Duration = Duration::from_secs(120);

/// How often a session's use is noted in the database at most.
const TOUCH_EVERY: Duration = Duration::from_secs(600);

/// The most sessions whose use waits to be noted.
const TOUCHES_MAX: usize = 100_000;

/// The most sessions noted with one statement.
const TOUCHES_PER_STATEMENT: usize = 500;

/// How long the database may take.
const STORE_TIME: Duration = Duration::from_secs(5);

/// How long it may take where an older answer is at hand: while it hangs, people must still get back in.
const STORE_TIME_WITH_STALE: Duration = Duration::from_secs(1);

/// How long older answers are taken at once after the database did not answer.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Knows callers by their tokens.
pub(crate) struct Sessions {
    store: Arc<dyn Store>,
    /// Time without use after which a session ends.
    lifetime: Duration,
    /// Time after which it ends, however much it is used.
    longest: Option<Duration>,
    /// The name of the cookie.
    cookie: &'static str,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    seen: HashMap<TokenHash, Seen>,
    /// Under which token each of them is seen.
    tokens: HashMap<Uuid, TokenHash>,
    /// Sessions that ended lately, and when this edge heard of it.
    revoked: HashMap<Uuid, Instant>,
    /// When the use of a session was last noted, or is to be.
    touched: HashMap<Uuid, Instant>,
    to_touch: Vec<Uuid>,
    tokens_to_touch: Vec<Uuid>,
    /// When the database last did not answer.
    failed_at: Option<Instant>,
    /// Counts what was forgotten: an answer of the database that was asked before is not remembered.
    forgotten: u64,
}

#[derive(Clone)]
struct Seen {
    session: Arc<Session>,
    asked_at: Instant,
}

/// The present time in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The token of a call: `Authorization: Bearer`, or else the cookie. A token that is named is not passed over for the
/// cookie, whatever it is, so that its caller is never taken for somebody else; what another scheme says is for others: a
/// browser sends what the proxy before this edge wants of it (`Basic`) along with everything.
fn token_of<'a>(headers: &'a HeaderMap, cookie: &str) -> Option<&'a str> {
    let named = headers.get_all(header::AUTHORIZATION).iter();
    let mut bearers = named.filter_map(|line| {
        let line = line.as_bytes().trim_ascii();
        let (scheme, token) = line.split_at_checked(BEARER.len())?;
        let ends = token.first().is_none_or(u8::is_ascii_whitespace);
        (ends && scheme.eq_ignore_ascii_case(BEARER)).then(|| token.trim_ascii())
    });
    match bearers.next() {
        // One with other bytes is a token that nobody has.
        Some(token) => std::str::from_utf8(token).ok(),
        None => token_of_cookie(headers, cookie),
    }
}

/// The token in the cookie of this name.
pub(crate) fn token_of_cookie<'a>(headers: &'a HeaderMap, cookie: &str) -> Option<&'a str> {
    // By bytes: others' cookies may have any. Some proxies join several headers with commas.
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| b";,".contains(byte)));
    let ours = pairs.filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(cookie.as_bytes())?;
        let value = value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        std::str::from_utf8(value.strip_suffix(b"\"").unwrap_or(value)).ok()
    });
    // The cookie may be there twice, if another path or an older version set one. An empty one says nothing.
    ours.filter(|token| !token.is_empty())
        .min_by_key(|token| token.len() != TOKEN_CHARS)
}

impl Sessions {
    /// With cookies over TLS only, or over anything.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        lifetime: Duration,
        longest: Option<Duration>,
        secure_cookies: bool,
    ) -> Sessions {
        Sessions {
            store,
            lifetime,
            longest,
            cookie: if secure_cookies {
                SECURE_COOKIE
            } else {
                COOKIE
            },
            memory: Mutex::default(),
        }
    }

    /// The name of the cookie.
    pub(crate) fn cookie(&self) -> &'static str {
        self.cookie
    }

    /// The token in the cookie that a call comes with.
    pub(crate) fn token_of_cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        token_of_cookie(headers, self.cookie)
    }

    /// The session that a call comes with. Its use is noted, and so its end put off.
    ///
    /// A caller that goes on acting for a session (a socket) registers first and asks [`Sessions::was_revoked`] then:
    /// a revocation in between finds it either way.
    ///
    /// # Errors
    /// 401 without a session that holds; 503 if it is not remembered and the database does not answer.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Session>, Problem> {
        let token =
            token_of(headers, self.cookie).ok_or_else(|| Problem::unauthorized("log in first"))?;
        let hash = hash_of(token);
        let session = self
            .look_up(&hash, token.starts_with(PROGRAM_TOKEN))
            .await?;
        if self.was_revoked(session.id) || self.time_left(&session).is_zero() {
            return Err(gone());
        }
        self.note_use(&session);
        Ok(session)
    }

    async fn ask(&self, hash: &TokenHash, is_token: bool) -> Result<Option<Session>, StoreError> {
        if is_token {
            let token = self.store.token(hash, now_ms()).await?;
            return Ok(token.map(Session::from));
        }
        self.store.session(hash, now_ms()).await
    }

    async fn look_up(&self, hash: &TokenHash, is_token: bool) -> Result<Arc<Session>, Problem> {
        let (seen, forgotten, failed_at) = {
            let memory = self.memory();
            let seen = memory.seen.get(hash).cloned();
            (seen, memory.forgotten, memory.failed_at)
        };
        let seen = seen.filter(|seen| seen.asked_at.elapsed() < STALE);
        let failed_lately = failed_at.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE);
        if let Some(seen) = &seen
            && (failed_lately || seen.asked_at.elapsed() < FRESH)
        {
            return Ok(Arc::clone(&seen.session));
        }
        let patience = match seen {
            Some(_) => STORE_TIME_WITH_STALE,
            None => STORE_TIME,
        };
        let asked_at = Instant::now();
        match timeout(patience, self.ask(hash, is_token)).await {
            Ok(Ok(Some(session))) => {
                let session = Arc::new(session);
                self.remember(*hash, &session, asked_at, forgotten);
                Ok(session)
            }
            Ok(Ok(None)) => {
                self.memory().drop_seen(hash);
                Err(gone())
            }
            Ok(Err(_)) | Err(_) => {
                self.memory().failed_at = Some(Instant::now());
                let away = || Problem::unavailable("the database does not answer just now");
                seen.map(|seen| seen.session).ok_or_else(away)
            }
        }
    }

    /// Whether this user administers the server just now. The database is asked each time: who may do what others may not
    /// is not taken from memory.
    ///
    /// # Errors
    /// 503 if the database does not answer.
    pub(crate) async fn is_administrator(&self, user: &str) -> Result<bool, Problem> {
        match timeout(STORE_TIME, self.store.standing(user)).await {
            Ok(Ok(standing)) => {
                Ok(standing.is_some_and(|standing| standing.admin && !standing.disabled))
            }
            Ok(Err(_)) | Err(_) => Err(Problem::unavailable(
                "the database does not answer just now",
            )),
        }
    }

    fn remember(&self, hash: TokenHash, session: &Arc<Session>, asked_at: Instant, forgotten: u64) {
        let mut memory = self.memory();
        if memory.forgotten != forgotten {
            return;
        }
        if memory.seen.len() >= REMEMBERED_MAX && !memory.seen.contains_key(&hash) {
            memory.drop_seen_before(FRESH);
            if memory.seen.len() >= REMEMBERED_MAX {
                memory.drop_all_seen();
            }
        }
        memory.tokens.insert(session.id, hash);
        let session = Arc::clone(session);
        memory.seen.insert(hash, Seen { session, asked_at });
    }

    /// Whether this edge heard within the last two minutes that the session ended.
    pub(crate) fn was_revoked(&self, session: Uuid) -> bool {
        self.memory().revoked.contains_key(&session)
    }

    /// The session ended: nobody is let in with it any more.
    pub(crate) fn forget(&self, session: Uuid) {
        let mut memory = self.memory();
        memory.forgotten += 1;
        if let Some(hash) = memory.tokens.get(&session).copied() {
            memory.drop_seen(&hash);
        }
        memory.revoked.insert(session, Instant::now());
    }

    /// Something changed about a user: the database is asked again for each of their sessions.
    pub(crate) fn forget_user(&self, user: &str) {
        let mut memory = self.memory();
        memory.forgotten += 1;
        memory.seen.retain(|_, seen| seen.session.user != user);
        let Memory { seen, tokens, .. } = &mut *memory;
        tokens.retain(|_, hash| seen.contains_key(hash));
    }

    /// Which sessions ended is not known: the database is asked again for each.
    pub(crate) fn forget_all(&self) {
        let mut memory = self.memory();
        memory.forgotten += 1;
        memory.drop_all_seen();
    }

    /// Notes that a session is in use, by a call or a socket that is still open; the database hears of it within a
    /// minute, and at most every ten. Cheap: may be called on every heartbeat.
    pub(crate) fn note_use(&self, session: &Session) {
        let unnoted_ms = now_ms().saturating_sub(session.last_seen_at_ms);
        if u128::from(unnoted_ms) < TOUCH_EVERY.as_millis() {
            return;
        }
        let mut memory = self.memory();
        let noted = memory.touched.get(&session.id);
        if noted.is_some_and(|at| at.elapsed() < TOUCH_EVERY) || memory.touched.len() >= TOUCHES_MAX
        {
            return;
        }
        memory.touched.insert(session.id, Instant::now());
        if session.is_token {
            memory.tokens_to_touch.push(session.id);
        } else {
            memory.to_touch.push(session.id);
        }
    }

    /// Writes down which sessions were used, and lets go of what is remembered for too long. Called on a timer.
    pub(crate) async fn upkeep(&self) {
        let (to_touch, tokens) = {
            let mut memory = self.memory();
            memory.drop_seen_before(STALE);
            memory.revoked.retain(|_, at| at.elapsed() < REVOKED_KNOWN);
            memory.touched.retain(|_, at| at.elapsed() < TOUCH_EVERY);
            let tokens = std::mem::take(&mut memory.tokens_to_touch);
            (std::mem::take(&mut memory.to_touch), tokens)
        };
        for ids in tokens.chunks(TOUCHES_PER_STATEMENT) {
            let touched = self.store.touch_tokens(ids, now_ms());
            if !matches!(timeout(STORE_TIME, touched).await, Ok(Ok(()))) {
                let mut memory = self.memory();
                for id in ids {
                    memory.touched.remove(id);
                }
            }
        }
        for ids in to_touch.chunks(TOUCHES_PER_STATEMENT) {
            let now = now_ms();
            let touched =
                self.store
                    .touch_sessions(ids, now, self.expiry(now, now), self.longest.map(ms));
            if !matches!(timeout(STORE_TIME, touched).await, Ok(Ok(()))) {
                // They are in use, so they will be noted again.
                let mut memory = self.memory();
                for id in ids {
                    memory.touched.remove(id);
                }
            }
        }
    }

    /// The last [`Sessions::upkeep`] of a process, within the time it has left.
    pub(crate) async fn upkeep_until(&self, until: Instant) {
        // What is not noted in time is noted when the session is used next.
        drop(tokio::time::timeout_at(until, self.upkeep()).await);
    }

    /// Deletes sessions that have expired. Called on a timer; any number of edges may do it at once.
    pub(crate) async fn sweep(&self) {
        loop {
            match self.store.sweep_sessions(now_ms()).await {
                Ok(0) => return,
                Ok(swept) => tracing::info!(swept, "expired sessions deleted"),
                Err(error) => return tracing::warn!(%error, "expired sessions must wait"),
            }
        }
    }

    /// When a session that began at `created_at_ms` and is used at `now_ms` ends, if it is not used again.
    pub(crate) fn expiry(&self, created_at_ms: u64, now_ms: u64) -> u64 {
        let unused = now_ms.saturating_add(ms(self.lifetime));
        unused.min(self.longest_until(created_at_ms))
    }

    fn longest_until(&self, created_at_ms: u64) -> u64 {
        let longest = self.longest.map_or(u64::MAX, ms);
        created_at_ms.saturating_add(longest)
    }

    /// How long a session still holds, as far as the database has said it and its longest life goes.
    fn time_left(&self, session: &Session) -> Duration {
        let longest = match session.is_token {
            true => u64::MAX,
            false => self.longest_until(session.created_at_ms),
        };
        let until = session.expires_at_ms.min(longest);
        Duration::from_millis(until.saturating_sub(now_ms()))
    }

    /// How long a session that is in use now holds without being used again.
    pub(crate) fn lifetime(&self, session: &Session) -> Duration {
        let now = now_ms();
        Duration::from_millis(self.expiry(session.created_at_ms, now).saturating_sub(now))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }
}

impl Memory {
    fn drop_seen(&mut self, hash: &TokenHash) {
        if let Some(seen) = self.seen.remove(hash) {
            self.tokens.remove(&seen.session.id);
        }
    }

    fn drop_seen_before(&mut self, age: Duration) {
        self.seen.retain(|_, seen| seen.asked_at.elapsed() < age);
        let seen = &self.seen;
        self.tokens.retain(|_, hash| seen.contains_key(hash));
    }

    fn drop_all_seen(&mut self) {
        self.seen.clear();
        self.tokens.clear();
    }
}

fn gone() -> Problem {
    Problem::unauthorized("this session has ended; log in again")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use common::{
        secret_token::{NewToken, new_token},
        store::Accounts,
    };
    use engines::embedded::SqliteStore;
    use seam_fakes::FaultyStore;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    struct Case {
        sessions: Sessions,
        store: Arc<FaultyStore>,
        session: Session,
        hash: TokenHash,
        headers: HeaderMap,
        _folder: tempfile::TempDir,
    }

    impl Case {
        async fn new() -> Case {
            let folder = tempfile::tempdir().unwrap();
            let store = FaultyStore::over(SqliteStore::open(folder.path()).await.unwrap());
            let sessions =
                Sessions::new(Arc::<FaultyStore>::clone(&store), DAY, Some(DAY / 4), false);
            store.create_user("ada", "hash").await.unwrap();
            let NewToken { token, hash } = new_token();
            let session = Session {
                id: Uuid::now_v7(),
                user: "ada".to_owned(),
                device: String::new(),
                created_at_ms: now_ms() - 3_600_000,
                last_seen_at_ms: now_ms() - 3_600_000,
                expires_at_ms: now_ms() + 60_000,
                is_token: false,
            };
            store.create_session(&session, &hash).await.unwrap();
            let mut headers = HeaderMap::new();
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            headers.insert(header::AUTHORIZATION, bearer);
            Case {
                sessions,
                store,
                session,
                hash,
                headers,
                _folder: folder,
            }
        }

        async fn status(&self) -> u16 {
            let answer = self.sessions.authenticate(&self.headers).await;
            answer.map_or_else(|problem| problem.status.as_u16(), |_| 200)
        }

        /// As if it had been asked for so long ago.
        fn ages(&self, by: Duration) {
            let mut memory = self.sessions.memory();
            memory.failed_at = None;
            if let Some(seen) = memory.seen.get_mut(&self.hash) {
                seen.asked_at -= by;
            }
        }
    }

    #[tokio::test]
    async fn who_was_let_in_stays_in_while_the_database_is_away() {
        let case = Case::new().await;
        case.store.faults.away(true);
        assert_eq!(case.status().await, 503, "nobody knows yet who it is");
        case.store.faults.away(false);
        assert_eq!(case.status().await, 200);
        case.store.faults.away(true);
        assert_eq!(case.status().await, 200);
        case.ages(FRESH);
        assert_eq!(case.status().await, 200);
        case.ages(STALE);
        assert_eq!(case.status().await, 503);
    }

    #[tokio::test]
    async fn a_session_that_ended_unheard_of_is_out_after_half_a_minute() {
        let case = Case::new().await;
        assert_eq!(case.status().await, 200);
        assert!(
            case.store
                .end_session("ada", case.session.id)
                .await
                .unwrap()
        );
        case.ages(FRESH);
        assert_eq!(case.status().await, 401);
    }

    #[tokio::test]
    async fn a_revocation_counts_though_the_database_was_asked_before_it() {
        let case = Case::new().await;
        case.sessions.forget(case.session.id);
        assert_eq!(case.status().await, 401);
        assert!(case.sessions.was_revoked(case.session.id));
    }

    #[tokio::test]
    async fn a_session_that_is_older_than_one_may_get_is_out_whatever_it_was_promised() {
        let mut case = Case::new().await;
        let NewToken { token, hash } = new_token();
        let old = Session {
            id: Uuid::now_v7(),
            created_at_ms: now_ms() - ms(DAY / 4),
            last_seen_at_ms: now_ms(),
            expires_at_ms: now_ms() + ms(DAY),
            ..case.session.clone()
        };
        case.store.create_session(&old, &hash).await.unwrap();
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        case.headers.insert(header::AUTHORIZATION, bearer);
        assert_eq!(case.status().await, 401);
        assert_eq!(case.sessions.lifetime(&old), Duration::ZERO);
        // One that is used is put off as far as that, and no further.
        let left = case.sessions.lifetime(&case.session).as_millis();
        assert!((17_990_000..=18_000_000).contains(&left), "{left}");
    }

    #[tokio::test]
    async fn a_session_that_is_used_lasts() {
        let case = Case::new().await;
        assert_eq!(case.status().await, 200);
        case.sessions.upkeep().await;
        let noted = case
            .store
            .session(&case.hash, now_ms())
            .await
            .unwrap()
            .unwrap();
        assert!(noted.last_seen_at_ms > case.session.last_seen_at_ms);
        assert!(noted.expires_at_ms > case.session.expires_at_ms);
        case.sessions.note_use(&case.session);
        assert!(
            case.sessions.memory().to_touch.is_empty(),
            "it was noted just now"
        );
    }
}
