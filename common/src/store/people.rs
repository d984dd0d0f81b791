//! Who may come in and who keeps order: what an account is beyond its name and password.

use async_trait::async_trait;

use super::StoreError;

/// What an account is beyond its name and password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// They administer the server.
    pub admin: bool,
    /// Nobody gets in as them, and no session or token of theirs holds. So it is too with one that is deleted.
    pub disabled: bool,
    /// They are gone for good; the name stays theirs, so that nobody else is taken for them.
    pub deleted: bool,
}

/// Accounts as those see them who keep the door.
#[async_trait]
pub trait People: Send + Sync + 'static {
    /// What an account is just now; none if there is no such account.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn standing(&self, user: &str) -> Result<Option<Standing>, StoreError>;
}
