//! Devices on which somebody has logged in rightly before, known by a cookie. Whoever guesses somebody's password from
//! anywhere does not lock out the owner, who sits at such a device: `docs/decisions/log-in-limits.md`.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderValue};
use common::{
    secret_token::{NewToken, TokenHash, hash_of, new_token},
    store::{Store, StoreError},
};

use crate::sessions::{now_ms, token_of_cookie};

/// The cookie that carries the device's value.
const COOKIE: &str = "device";
/// The same where it is only sent over TLS.
const SECURE_COOKIE: &str = "__Host-device";

/// How long a device is known after the last log-in on it.
const KNOWN_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Knows devices.
pub(crate) struct Devices {
    store: Arc<dyn Store>,
    secure: bool,
}

/// The device of a call.
#[derive(Clone)]
pub(crate) struct KnownDevice {
    value: String,
    /// What the database keeps of it.
    pub(crate) hash: TokenHash,
}

impl Devices {
    pub(crate) fn new(store: Arc<dyn Store>, secure: bool) -> Devices {
        Devices { store, secure }
    }

    /// The device that a call comes from, if this user has logged in on it. To be asked for nothing but their log-in: so
    /// nobody is told anything by it who does not have the cookie.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn of(
        &self,
        headers: &HeaderMap,
        user: &str,
    ) -> Result<Option<KnownDevice>, StoreError> {
        let Some(value) = token_of_cookie(headers, self.cookie_name()) else {
            return Ok(None);
        };
        let hash = hash_of(value);
        let is_known = self.store.knows_device(Some(user), &hash, known_since());
        let is_known = is_known.await?;
        let value = value.to_owned();
        Ok(is_known.then_some(KnownDevice { value, hash }))
    }

    /// What is kept of the device that a call comes from, if anybody has logged in on it: for who comes back from single sign-on,
    /// of whom it is not known yet who they are.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn of_anybody(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<TokenHash>, StoreError> {
        let Some(value) = token_of_cookie(headers, self.cookie_name()) else {
            return Ok(None);
        };
        let hash = hash_of(value);
        let is_known = self.store.knows_device(None, &hash, known_since());
        Ok(is_known.await?.then_some(hash))
    }

    /// The device of a log-in that was right, and its cookie. Never a value that a call brought along and that was not known:
    /// whoever put it into somebody's browser would know the device too.
    pub(crate) fn remembered(&self, known: Option<KnownDevice>) -> (TokenHash, HeaderValue) {
        let KnownDevice { value, hash } = known.unwrap_or_else(|| {
            let NewToken { token, hash } = new_token();
            KnownDevice { value: token, hash }
        });
        let (name, seconds) = (self.cookie_name(), KNOWN_FOR.as_secs());
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie =
            format!("{name}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}{secure}");
        let cookie = HeaderValue::from_str(&cookie);
        (
            hash,
            cookie.expect("a value that was made here is hexadecimal"),
        )
    }

    fn cookie_name(&self) -> &'static str {
        if self.secure { SECURE_COOKIE } else { COOKIE }
    }
}

fn known_since() -> u64 {
    let known_for = u64::try_from(KNOWN_FOR.as_millis()).unwrap_or(u64::MAX);
    now_ms().saturating_sub(known_for)
}
