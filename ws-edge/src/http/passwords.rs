//! Passwords, hashed so that a stolen database is of little use, which costs a core some tens of milliseconds each
//! time. So they wait in line: never more at once than there are cores, and never a line without end.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::password_profile::{kept_as, prepared};
use crate::problem::Problem;

/// The fewest characters of a password.
pub(super) const PASSWORD_MIN_CHARS: usize = 8;
/// The most characters of a password: as many as any passphrase needs.
pub(super) const PASSWORD_MAX_CHARS: usize = 200;

/// Argon2id as OWASP's Password Storage Cheat Sheet recommends it: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many wait for each core: about four seconds. Who would wait longer is told to come back.
const WAITING_PER_CORE: usize = 128;

/// The line to the cores.
pub(super) struct Passwords {
    /// Held while hashing.
    cores: Arc<Semaphore>,
    /// Held while hashing or waiting for it.
    permits: Arc<Semaphore>,
    /// The hash of a password nobody has, so that a name nobody has takes as long as a wrong password.
    nobody: Arc<str>,
}

/// A core, and a permit to wait for it.
type Held = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// The right to hash one password now.
pub(super) struct Turn {
    held: Held,
    nobody: Arc<str>,
}

impl Passwords {
    pub(super) fn new() -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let password: [u8; 32] = rand::random();
        let nobody = argon2()
            .hash_password(&password)
            .expect("the parameters are good, the salt is made here");
        Passwords {
            cores: Arc::new(Semaphore::new(cores)),
            permits: Arc::new(Semaphore::new(cores * (1 + WAITING_PER_CORE))),
            nobody: nobody.to_string().into(),
        }
    }

    /// Waits for a core.
    ///
    /// # Errors
    /// 503 if too many wait already.
    pub(super) async fn turn(&self) -> Result<Turn, Problem> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::unavailable("too many log in at this moment"))?;
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let core = core.expect("the semaphore is never closed");
        Ok(Turn {
            held: (core, permit),
            nobody: Arc::clone(&self.nobody),
        })
    }
}

impl Turn {
    /// What is kept of a password.
    pub(super) async fn hash(self, password: String) -> Result<String, Problem> {
        let hashed = self.work(move || {
            argon2()
                .hash_password(prepared(&password).as_bytes())
                .map(|hash| hash.to_string())
        });
        let (hashed, _) = hashed.await?;
        hashed.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            Problem::internal()
        })
    }

    /// Whether it is the password that this was kept of. Without anything kept it is not, after as long. The turn is
    /// handed back along with the answer, so that who counts failures has counted before the next one's turn.
    pub(super) async fn verify(
        self,
        password: String,
        kept: Option<String>,
    ) -> Result<(bool, Held), Problem> {
        let nobody = Arc::clone(&self.nobody);
        self.work(move || {
            let hash = kept.as_deref().unwrap_or(&nobody);
            let Ok(hash) = PasswordHash::new(hash) else {
                tracing::error!("a password's hash in the database cannot be read");
                return false;
            };
            let matches = kept_as(&password).any(|password| {
                let checked = argon2().verify_password(password.as_bytes(), &hash);
                checked.is_ok()
            });
            matches && kept.is_some()
        })
        .await
    }

    /// The turn is over when the work is, not when the caller hangs up.
    async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Held), Problem> {
        let held = self.held;
        let done = tokio::task::spawn_blocking(move || (work(), held));
        done.await.map_err(|error| {
            tracing::error!(%error, "a password's hashing broke");
            Problem::internal()
        })
    }
}

fn argon2() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether this may be a password.
///
/// # Errors
/// What is wrong with it, in words for people.
pub(super) fn check_password(password: &str) -> Result<(), String> {
    let chars = password.chars().count();
    if (PASSWORD_MIN_CHARS..=PASSWORD_MAX_CHARS).contains(&chars) {
        return Ok(());
    }
    Err(format!(
        "a password has {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters"
    ))
}
