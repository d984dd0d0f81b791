//! Tokens of programs: made and named by who they act for, listed, and revoked.

use std::collections::HashSet;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Session, StoreError};

/// The most tokens of one person: a list that can be looked through.
pub const TOKENS_PER_USER: usize = 100;

/// The most characters of a token's name.
pub const TOKEN_NAME_MAX_CHARS: usize = 100;

/// What is known of a token; the token itself is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramToken {
    /// Names it, for listing and revoking.
    pub id: Uuid,
    /// For whom it acts.
    pub user: String,
    /// What they call it.
    pub name: String,
    /// In milliseconds since the Unix epoch, as all times here.
    pub created_at_ms: u64,
    /// When it was last noted as used; none if it never was.
    pub last_used_at_ms: Option<u64>,
    /// When it ends; none if it does not by itself.
    pub expires_at_ms: Option<u64>,
}

impl From<ProgramToken> for Session {
    /// What whoever comes with the token is to all that asks who is there.
    fn from(token: ProgramToken) -> Session {
        Session {
            id: token.id,
            user: token.user,
            device: token.name,
            created_at_ms: token.created_at_ms,
            last_seen_at_ms: token.last_used_at_ms.unwrap_or_default(),
            expires_at_ms: token.expires_at_ms.unwrap_or(u64::MAX),
            is_token: true,
        }
    }
}

/// Keeps tokens of programs.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Keeps a token for whoever asks for it in this session.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the session has ended, or the account is disabled;
    /// [`StoreError::Full`] beyond [`TOKENS_PER_USER`] that have not expired by its creation.
    async fn create_token(
        &self,
        token: &ProgramToken,
        token_hash: &[u8; 32],
        session: Uuid,
    ) -> Result<(), StoreError>;

    /// The token with this hash, unless it has expired by `now_ms`, or its account is disabled.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn token(
        &self,
        token_hash: &[u8; 32],
        now_ms: u64,
    ) -> Result<Option<ProgramToken>, StoreError>;

    /// A user's tokens that have not expired by `now_ms`, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn tokens(&self, user: &str, now_ms: u64) -> Result<Vec<ProgramToken>, StoreError>;

    /// Revokes one of a user's tokens. False if there was none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn revoke_token(&self, user: &str, token: Uuid) -> Result<bool, StoreError>;

    /// Which of these ids are tokens that still hold at `now_ms`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn live_tokens(&self, ids: &[Uuid], now_ms: u64) -> Result<HashSet<Uuid>, StoreError>;

    /// Notes that tokens were used at `now_ms`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn touch_tokens(&self, ids: &[Uuid], now_ms: u64) -> Result<(), StoreError>;
}
