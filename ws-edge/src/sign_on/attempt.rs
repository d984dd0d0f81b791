//! A log-in on its way to the provider and back. All that is known of it is in the browser that began it: a random
//! secret in a cookie, from which follow the state, the nonce and PKCE's verifier. So any edge may be asked when it
//! comes back, none remembers anything, and there is no key that edges would have to share.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::secret_token::{TokenHash, hash_of, new_token};
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How long somebody may take at the provider.
pub(crate) const ATTEMPT_HOLDS: Duration = Duration::from_secs(600);

/// How far the clocks of two edges may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// What a log-in is for. It is told to nobody but the browser, and cannot be another when it comes back, since the
/// state follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Where the provider sends the browser back to: the same has to be said to it twice.
    pub(crate) redirect_uri: String,
    /// Where the browser goes afterwards, below this server's address.
    pub(crate) return_to: String,
    /// An invitation to come by, if an account is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) invite: Option<String>,
    /// The session in which the identity is to be linked to its account. Nobody else knows it, so nobody can put an
    /// attempt of their own in the place of this one. Whoever is in that session can, so it shows nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) links_in: Option<Uuid>,
    /// In milliseconds since the Unix epoch.
    pub(crate) begun_at_ms: u64,
}

/// An attempt. Has no `Debug`, so that it can get into no log.
pub(crate) struct Attempt {
    secret: String,
    intent: Intent,
    /// The intent as it stands in the cookie.
    written: String,
}

impl Attempt {
    /// Begins one.
    pub(crate) fn begin(intent: Intent) -> Attempt {
        let json = serde_json::to_vec(&intent).expect("texts and numbers");
        Attempt {
            secret: new_token().token,
            written: URL_SAFE_NO_PAD.encode(json),
            intent,
        }
    }

    /// The one in a cookie, if it is one and not too old.
    pub(crate) fn of_cookie(cookie: &str, now_ms: u64) -> Option<Attempt> {
        let (secret, written) = cookie.split_once('.')?;
        let json = URL_SAFE_NO_PAD.decode(written).ok()?;
        let intent: Intent = serde_json::from_slice(&json).ok()?;
        let ms = |time: Duration| time.as_millis() as u64;
        let holds = now_ms <= intent.begun_at_ms.saturating_add(ms(ATTEMPT_HOLDS))
            && intent.begun_at_ms <= now_ms.saturating_add(ms(CLOCKS_DIFFER));
        holds.then(|| Attempt {
            secret: secret.to_owned(),
            written: written.to_owned(),
            intent,
        })
    }

    /// For the browser alone.
    pub(crate) fn cookie(&self) -> String {
        format!("{}.{}", self.secret, self.written)
    }

    pub(crate) fn intent(&self) -> &Intent {
        &self.intent
    }

    /// What comes back with the code, and shows that this browser asked for it.
    pub(crate) fn state(&self) -> String {
        self.derived("state")
    }

    /// Whether this came back. Nothing is to be found out by guessing it bit by bit: what is compared are hashes.
    pub(crate) fn is_state(&self, state: &str) -> bool {
        hash_of(&self.state()) == hash_of(state)
    }

    /// What comes back in the ID token, and shows that it was made for this.
    pub(crate) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// What shows the provider that whoever brings the code has asked for it.
    pub(crate) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    /// What it is told of that beforehand.
    pub(crate) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier()))
    }

    /// What is kept of it, so that it comes back once.
    pub(crate) fn hash(&self) -> TokenHash {
        hash_of(&self.derived("spent"))
    }

    fn derived(&self, purpose: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let mut derived = hmac::Context::with_key(&key);
        derived.update(purpose.as_bytes());
        derived.update(b".");
        derived.update(self.written.as_bytes());
        URL_SAFE_NO_PAD.encode(derived.sign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Intent {
        Intent {
            redirect_uri: "https://chat.example/api/oidc/callback".to_owned(),
            return_to: "/rooms/lobby".to_owned(),
            invite: None,
            links_in: None,
            begun_at_ms: 1_000_000,
        }
    }

    #[test]
    fn any_edge_reads_in_the_cookie_what_another_has_begun() {
        let begun = Attempt::begin(intent());
        let read = Attempt::of_cookie(&begun.cookie(), 1_000_500).unwrap();
        assert_eq!(read.intent(), begun.intent());
        assert!(read.is_state(&begun.state()));
        assert_eq!(read.nonce(), begun.nonce());
        assert_eq!(read.verifier(), begun.verifier());
        let all = [
            begun.state(),
            begun.nonce(),
            begun.verifier(),
            begun.challenge(),
        ];
        let others = [Attempt::begin(intent()).state(), begun.secret.clone()];
        for (at, one) in all.iter().enumerate() {
            assert!((43..=128).contains(&one.len()));
            assert!(!all[..at].contains(one) && !others.contains(one));
        }
    }

    #[test]
    fn what_it_is_for_cannot_be_changed_on_the_way() {
        let begun = Attempt::begin(intent());
        let other = Intent {
            links_in: Some(Uuid::nil()),
            ..intent()
        };
        let json = serde_json::to_vec(&other).unwrap();
        let forged = format!("{}.{}", begun.secret, URL_SAFE_NO_PAD.encode(json));
        let forged = Attempt::of_cookie(&forged, 1_000_500).unwrap();
        assert!(!forged.is_state(&begun.state()));
    }

    #[test]
    fn one_that_is_too_old_or_none_at_all_is_none() {
        let cookie = Attempt::begin(intent()).cookie();
        for now in [1_000_000, 1_600_000, 940_000] {
            assert!(Attempt::of_cookie(&cookie, now).is_some(), "{now}");
        }
        for now in [1_600_001, 939_999] {
            assert!(Attempt::of_cookie(&cookie, now).is_none(), "{now}");
        }
        for none in ["", ".", "a.b", "a.e30", &cookie.replace('.', "")] {
            assert!(Attempt::of_cookie(none, 1_000_000).is_none(), "{none}");
        }
    }
}
