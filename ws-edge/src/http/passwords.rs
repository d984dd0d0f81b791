//! Passwords, hashed so that a stolen database is of little use, which costs a core some tens of milliseconds each
//! time. So they wait in line: never more at once than all cores but one, never a line without end, and each behind those
//! from the same address.

use std::{net::IpAddr, sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    password_line::PasswordLine,
    password_profile::{kept_as, prepared},
};
use crate::problem::Problem;

/// The fewest characters of a password.
pub(super) const PASSWORD_MIN_CHARS: usize = 8;
/// The most characters of a password: as many as any passphrase needs.
pub(super) const PASSWORD_MAX_CHARS: usize = 200;

/// The fewest guesses, as zxcvbn counts them, that a password must be good for: its list of what people take has 30,000. Who
/// guesses over the network has a few thousand a day.
const GUESSES_MIN: u64 = 30_000;

/// The most characters of a password that many people take. A look at one of so many takes 50 ms at the very worst (of nothing
/// but marks that stand for letters), else less than one.
const GUESSED_MAX_CHARS: usize = 24;

/// Argon2id as OWASP's Password Storage Cheat Sheet recommends it: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many wait for each core: about four seconds. Beyond it somebody new takes the place of whoever has most of them.
const WAITING_PER_CORE: usize = 128;

/// How many of one customer (an IPv4 address, an IPv6 /48) wait for each core: half of all.
const WAITING_PER_CORE_AND_CUSTOMER: usize = WAITING_PER_CORE / 2;

/// So many from known devices have their turn in a row while others wait: those come first, and yet nobody waits for ever.
const KNOWN_IN_A_ROW: u32 = 3;

/// When whoever has too many waiting may come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The line to the cores.
pub(super) struct Passwords {
    line: Arc<Mutex<Line>>,
    /// How many may wait in all, and of one customer.
    waiting_max: usize,
    waiting_max_of_customer: usize,
    /// The hash of a password nobody has, so that a name nobody has takes as long as a wrong password.
    nobody: Arc<str>,
}

#[derive(Debug)]
struct Line {
    /// Cores that nobody uses; if there are any, nobody waits.
    free: usize,
    known: PasswordLine<Waiting>,
    others: PasswordLine<Waiting>,
    known_in_a_row: u32,
}

type Waiting = oneshot::Sender<Core>;

/// A core, until it is dropped; then the next one has it.
#[derive(Debug)]
pub(super) struct Core(Option<Arc<Mutex<Line>>>);

impl Drop for Core {
    fn drop(&mut self) {
        let Some(line) = self.0.take() else { return };
        let mut state = line.lock();
        while let Some(next) = state.next() {
            match next.send(Core(Some(Arc::clone(&line)))) {
                Ok(()) => return,
                // They hung up. What comes back must not be dropped as a core of its own.
                Err(mut core) => core.0 = None,
            }
        }
        state.free += 1;
    }
}

impl Line {
    fn next(&mut self) -> Option<Waiting> {
        let is_others_turn = self.known_in_a_row >= KNOWN_IN_A_ROW;
        let known = if is_others_turn && self.others.len() > 0 {
            None
        } else {
            self.known.pop()
        };
        self.known_in_a_row = known.as_ref().map_or(0, |_| self.known_in_a_row + 1);
        known.or_else(|| self.others.pop())
    }
}

/// The right to hash one password now.
pub(super) struct Turn {
    core: Core,
    nobody: Arc<str>,
}

impl Passwords {
    pub(super) fn new() -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // One is left to the chat, or whoever floods this with passwords would slow what people say to each other.
        let cores = cores.saturating_sub(1).max(1);
        Passwords {
            line: Arc::new(Mutex::new(Line {
                free: cores,
                known: PasswordLine::default(),
                others: PasswordLine::default(),
                known_in_a_row: 0,
            })),
            waiting_max: cores * WAITING_PER_CORE,
            waiting_max_of_customer: cores * WAITING_PER_CORE_AND_CUSTOMER,
            nobody: nobodys_hash().into(),
        }
    }

    /// Waits for a core, behind those from the same address; known devices have a line of their own.
    ///
    /// # Errors
    /// 429 if too many from there wait already; 503 if too many wait at all, and nobody has more than this caller.
    pub(super) async fn turn(&self, address: IpAddr, is_known: bool) -> Result<Turn, Problem> {
        let waiting = {
            let mut state = self.line.lock();
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                return Ok(self.turn_on(Core(Some(Arc::clone(&self.line)))));
            }
            self.wait(&mut state, address, is_known)?
        };
        // Without an answer somebody else got the place.
        let core = waiting.await.map_err(|_| too_many())?;
        Ok(self.turn_on(core))
    }

    fn wait(
        &self,
        state: &mut Line,
        address: IpAddr,
        is_known: bool,
    ) -> Result<oneshot::Receiver<Core>, Problem> {
        let line = if is_known {
            &mut state.known
        } else {
            &mut state.others
        };
        if line.of_customer(address) >= self.waiting_max_of_customer {
            let words = "too many log-ins and registrations from your address wait already";
            return Err(Problem::rate_limited(words, RETRY_AFTER));
        }
        if line.len() >= self.waiting_max {
            drop(line.displace_for(address).ok_or_else(too_many)?);
        }
        let (sender, receiver) = oneshot::channel();
        line.push(address, sender);
        Ok(receiver)
    }

    fn turn_on(&self, core: Core) -> Turn {
        Turn {
            core,
            nobody: Arc::clone(&self.nobody),
        }
    }
}

fn too_many() -> Problem {
    Problem::unavailable("too many log in at this moment")
}

impl Turn {
    /// What is kept of a new password.
    ///
    /// # Errors
    /// 400 if it is too easily guessed.
    pub(super) async fn hash(self, password: String, name: &str) -> Result<String, Problem> {
        let name = name.to_owned();
        let hashed = self.work(move || {
            let password = prepared(&password);
            check_guesses(&password, &name).map_err(bad_password)?;
            let hash = argon2().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| {
                tracing::error!(%error, "a password could not be hashed");
                Problem::internal()
            })
        });
        let (hashed, _) = hashed.await?;
        hashed
    }

    /// Whether it is the password that this was kept of. Without anything kept it is not, after as long. The core is
    /// handed back along with the answer, so that who counts failures has counted before the next one's turn.
    pub(super) async fn verify(
        self,
        password: String,
        kept: Option<String>,
    ) -> Result<(bool, Core), Problem> {
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
    ) -> Result<(T, Core), Problem> {
        let core = self.core;
        let done = tokio::task::spawn_blocking(move || (work(), core));
        done.await.map_err(|error| {
            tracing::error!(%error, "a password's hashing broke");
            Problem::internal()
        })
    }
}

fn argon2() -> Argon2<'static> {
    argon2_with(Params::new(MEMORY_KIB, PASSES, LANES, None))
}

fn argon2_with(params: Result<Params, argon2::Error>) -> Argon2<'static> {
    let params = params.expect("these are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// What no password leads to and what takes as long to look at as any other: a hash made with the least, and marked as made
/// with all. A real one would cost every start as much as a log-in.
fn nobodys_hash() -> String {
    let least = Params::new(
        Params::MIN_M_COST,
        Params::MIN_T_COST,
        Params::MIN_P_COST,
        None,
    );
    let password: [u8; 32] = rand::random();
    let hash = argon2_with(least).hash_password(&password);
    let mut hash = hash.expect("the parameters are good, the salt is made here");
    hash.params = argon2().params().try_into().expect("numbers");
    hash.to_string()
}

/// Whether this may be a password, as far as its length and the name tell.
///
/// # Errors
/// 400, with what is wrong in words for people.
pub(super) fn check_password(password: &str, name: &str) -> Result<(), Problem> {
    let chars = password.chars().count();
    if !(PASSWORD_MIN_CHARS..=PASSWORD_MAX_CHARS).contains(&chars) {
        return Err(bad_password(format!(
            "a password has {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters"
        )));
    }
    if is_mostly_name(password, name) {
        return Err(bad_password(
            "it is mostly your own name, which is what somebody tries first".to_owned(),
        ));
    }
    Ok(())
}

fn bad_password(why: String) -> Problem {
    Problem::bad_request(format!("`password`: {why}"))
}

/// Whether more of a password's letters and digits are the name, once or more often, than are not, and what is left would
/// be too short for a password.
fn is_mostly_name(password: &str, name: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let password = password.to_lowercase();
    let (all, left) = (letters(&password), letters(&password.replace(name, "")));
    left < PASSWORD_MIN_CHARS && all - left > left
}

/// Whether a password would be found within the first guesses of somebody who tries what many people take. One that is
/// longer than any of those is not looked at, which would take the longer the longer it is.
fn check_guesses(password: &str, name: &str) -> Result<(), String> {
    let is_long = password.chars().count() > GUESSED_MAX_CHARS;
    if is_long || zxcvbn::zxcvbn(password, &[name]).guesses() >= GUESSES_MIN {
        return Ok(());
    }
    Err("it is one of those that are guessed first: many people take it, or what it is made of is very regular".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_nobody_has_costs_what_a_wrong_password_costs() {
        let nobodys = nobodys_hash();
        let nobodys = PasswordHash::new(&nobodys).unwrap();
        let kept = argon2().hash_password(b"garlic and sapphires").unwrap();
        assert_eq!(nobodys.params, kept.params);
        assert_eq!(
            nobodys.hash.map(|hash| hash.len()),
            kept.hash.map(|hash| hash.len())
        );
        assert!(argon2().verify_password(b"password", &nobodys).is_err());
    }

    #[test]
    fn known_devices_come_first_and_others_do_not_wait_for_ever() {
        let mut line = Line {
            free: 0,
            known: PasswordLine::default(),
            others: PasswordLine::default(),
            known_in_a_row: 0,
        };
        let address = "192.0.2.1".parse().unwrap();
        let mut waiting = Vec::new();
        for (who, count) in [("known", 8), ("other", 3)] {
            for _ in 0..count {
                let (sender, receiver) = oneshot::channel();
                let known = who == "known";
                let line = if known {
                    &mut line.known
                } else {
                    &mut line.others
                };
                line.push(address, sender);
                waiting.push((who, receiver));
            }
        }
        let mut order = Vec::new();
        while let Some(next) = line.next() {
            next.send(Core(None)).unwrap();
            let had =
                |(_, receiver): &mut (&str, oneshot::Receiver<Core>)| receiver.try_recv().is_ok();
            let place = waiting.iter_mut().position(had).unwrap();
            order.push(waiting.remove(place).0);
        }
        let (known, other) = ("known", "other");
        let expected = [
            known, known, known, other, known, known, known, other, known, known, other,
        ];
        assert_eq!(order, expected);
    }

    #[tokio::test]
    async fn a_core_comes_back_whoever_hangs_up() {
        let passwords = Passwords::new();
        let address = "192.0.2.1".parse().unwrap();
        let cores = passwords.line.lock().free;
        let mut turns = Vec::new();
        for _ in 0..cores {
            turns.push(passwords.turn(address, false).await.ok().unwrap());
        }
        let mut waiting: Vec<_> = (0..5)
            .map(|number| {
                let turn = passwords.turn(address, number % 2 == 0);
                // Let go of as soon as it has come.
                Box::pin(async move { turn.await.is_ok() })
            })
            .collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        drop(waiting.remove(0));
        turns.clear();
        drop(waiting.remove(0));
        let had_turns = futures_util::future::join_all(waiting).await;
        assert_eq!(had_turns, [true; 3]);
        let line = passwords.line.lock();
        assert_eq!(
            (line.free, line.known.len(), line.others.len()),
            (cores, 0, 0)
        );
    }

    #[test]
    fn what_many_people_take_is_refused() {
        for password in [
            "password",
            "12345678",
            "password1",
            "qwertyuiop",
            "iloveyou",
            "p@ssw0rd",
            "PASSWORD",
            "11111111",
            "abcdefgh",
            "football1",
            "1qaz2wsx",
            "aaaaaaaaaaaa",
        ] {
            assert!(check_guesses(password, "ada").is_err(), "{password}");
        }
        for password in [
            "correct horse battery",
            "incorrect horse",
            "long enough for this",
            "vfX-29qp",
            "🦀🐙🦑🐡🐠🐟🐬🐳",
        ] {
            assert_eq!(check_guesses(password, "ada"), Ok(()), "{password}");
        }
    }

    #[test]
    fn what_is_mostly_ones_own_name_is_refused() {
        for (password, name) in [
            ("wilhelmina", "wilhelmina"),
            ("Wilhelmina-1", "wilhelmina"),
            ("adaadaada", "ada"),
            ("ada_l-1 ada_l-1", "ada_l-1"),
            ("alice-pass", "alice"),
        ] {
            assert!(is_mostly_name(password, name), "{password}");
        }
        for (password, name) in [
            ("correct horse battery", "ada"),
            ("ada has a very long password", "ada"),
            ("--------", "ada"),
            ("wilhelmina-loves-garlic", "wilhelmina"),
        ] {
            assert!(!is_mostly_name(password, name), "{password}");
        }
    }
}
