//! Who people are at the provider of single sign-on, and whose account that is.

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Actor, StoreError};

/// The most identities of one account: a person has one or two.
pub const IDENTITIES_PER_USER: usize = 10;

/// Somebody at a provider. Nothing else of what a provider says names anybody: an address or a name there may be
/// another's tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Which provider says it.
    pub issuer: &'a str,
    /// Whom it means, in its own letters.
    pub subject: &'a str,
}

impl Identity<'_> {
    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // With the length, so that no two pairs are one text.
        hash.update((self.issuer.len() as u64).to_be_bytes());
        hash.update(self.issuer.as_bytes());
        hash.update(self.subject.as_bytes());
        hash.finalize().into()
    }
}

/// An identity that leads into an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedIdentity {
    /// Names it, for listing and taking away.
    pub id: Uuid,
    /// Which provider says it.
    pub issuer: String,
    /// When it was linked, in milliseconds since the Unix epoch.
    pub linked_at_ms: u64,
}

/// By what somebody gets into their account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaysIn {
    /// Whether they have a password.
    pub password: bool,
    /// What leads into it at the provider, the first that was linked first.
    pub identities: Vec<LinkedIdentity>,
}

/// An invitation by which somebody comes.
#[derive(Clone, Copy, Debug)]
pub struct ByInvite<'a> {
    /// What is kept of its token.
    pub token_hash: &'a [u8; 32],
    /// It has to be of somebody who administers.
    pub by_keepers_alone: bool,
}

/// Keeps identities.
#[async_trait]
pub trait Identities: Send + Sync + 'static {
    /// Whose account an identity leads into, also if that is disabled or deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn user_of_identity(&self, identity: Identity<'_>) -> Result<Option<String>, StoreError>;

    /// Makes a user without a password whom this identity leads to, as
    /// [`Accounts::create_user`](super::Accounts::create_user) and
    /// [`People::create_invited_user`](super::People::create_invited_user) do: all of it or nothing.
    ///
    /// # Errors
    /// As those; [`StoreError::Taken`] also if the identity leads to an account.
    async fn create_identified_user(
        &self,
        name: &str,
        identity: Identity<'_>,
        invite: Option<ByInvite<'_>>,
    ) -> Result<Option<String>, StoreError>;

    /// Has an identity lead into the account of whoever asks for it in this session. Idempotent.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if it leads into another; [`StoreError::Forbidden`] if the session has ended, or the
    /// account is disabled; [`StoreError::Full`] beyond [`IDENTITIES_PER_USER`].
    async fn link_identity(
        &self,
        user: &str,
        identity: Identity<'_>,
        session: Uuid,
    ) -> Result<(), StoreError>;

    /// What leads into an account, the first that was linked first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn identities(&self, user: &str) -> Result<Vec<LinkedIdentity>, StoreError>;

    /// Takes an identity away from an account. False if there was none.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if nothing else leads into the account then: a password does where `passwords_count`.
    async fn unlink_identity(
        &self,
        user: &str,
        id: Uuid,
        passwords_count: bool,
    ) -> Result<bool, StoreError>;

    /// By what somebody gets into their account; none if there is no such account.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn ways_in(&self, user: &str) -> Result<Option<WaysIn>, StoreError>;

    /// Takes an identity away from somebody's account, also the last way in, and returns what is left. None if no such identity
    /// leads into it. Sessions stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the actor does not administer.
    async fn take_identity(
        &self,
        actor: Actor<'_>,
        user: &str,
        id: Uuid,
    ) -> Result<Option<WaysIn>, StoreError>;

    /// Notes that a log-in came back from the provider; until `expires_at_ms` it is known. False if it did before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn spend_sign_on(
        &self,
        attempt_hash: &[u8; 32],
        expires_at_ms: u64,
    ) -> Result<bool, StoreError>;
}
