//! What is older than people want it kept goes, in small steps that nobody notices, and what comes late for a place that is gone is
//! written nowhere. All persisters share the work without knowing of each other: who takes a page of rooms first has it, and
//! what a dead one left is found in the next round (`docs/decisions/retention.md`).

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use common::{
    store::{RETENTION_DAYS_MAX, Store, StoreError, may_be_gone},
    wire::{Message, Seq, now_seq},
};
use tokio::time::sleep;

/// Between two looks whether it is time for the next page of rooms.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How many rooms are looked at in one statement: a look at the beginning of each, some milliseconds for all.
const ROOMS_AT_ONCE: usize = 200;

/// How many messages are taken away in one transaction: the locks of so many are held for some milliseconds.
const REMOVED_AT_ONCE: usize = 500;

/// Between two of these, so that whoever writes and reads hardly notices.
const PAUSE: Duration = Duration::from_millis(25);

/// Between two pages of rooms: most have nothing that is old.
const PAGE_PAUSE: Duration = Duration::from_millis(100);

/// How far this machine's clock and the database's may be apart. Beyond it nothing is taken away until somebody has set one of them:
/// what goes by a clock that is ahead is gone for good.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60 * 60);

/// How often the log of replies is looked through for days that are old.
const REPLY_LOG_ROUNDS: u32 = 720;

/// What can be set about how long something is kept.
#[derive(Args, Clone, Copy, Debug)]
pub struct Keeping {
    /// Days after which what was said is gone, for good; 0 keeps it for ever. A room may keep it for less. To be the same for all
    /// persisters.
    #[arg(long, env = "RETENTION_DAYS", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=i64::from(RETENTION_DAYS_MAX)))]
    pub retention_days: u32,
    /// Days after which a line of the log of replies is gone, by which usage is summed, and budgets of a month when a live engine has
    /// forgotten them: no fewer than 32 where there are such; 0 keeps it for ever.
    #[arg(long, env = "REPLY_LOG_DAYS", default_value = "400", value_parser = clap::value_parser!(u32).range(0..=i64::from(RETENTION_DAYS_MAX)))]
    pub reply_log_days: u32,
}

/// Up to which place rooms are gone, as far as some messages need it.
#[derive(Default)]
pub(crate) struct Gone(pub(crate) HashMap<String, Seq>);

impl Gone {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, message: &Message) -> bool {
        self.has_place(&message.room, message.seq)
    }

    pub(crate) fn has_place(&self, room: &str, seq: Seq) -> bool {
        self.0.get(room).is_some_and(|until| seq <= *until)
    }
}

/// Takes old messages away, and knows which those are.
pub(crate) struct OldMessages {
    store: Arc<dyn Store>,
    keeping: Keeping,
    /// Whether something has gone since the dead letters were looked through for it.
    has_gone: AtomicBool,
    /// Whether it was told that the clocks are too far apart.
    clocks_told: AtomicBool,
}

/// By which time something is old: the earlier of two clocks.
///
/// # Errors
/// How far they are apart, if that is too far for anything to be taken away.
fn earlier(own: Seq, of_database: Seq) -> Result<Seq, Duration> {
    let apart = Duration::from_micros(own.abs_diff(of_database));
    match apart <= CLOCKS_APART_MAX {
        true => Ok(own.min(of_database)),
        false => Err(apart),
    }
}

impl OldMessages {
    pub(crate) fn new(store: Arc<dyn Store>, keeping: Keeping) -> OldMessages {
        OldMessages {
            store,
            keeping,
            has_gone: AtomicBool::new(false),
            clocks_told: AtomicBool::new(false),
        }
    }

    fn server_days(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.keeping.retention_days)
    }

    /// What of these rooms is gone. Nothing is asked about what was said today, so hardly ever anything is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn gone_among<'a>(
        &self,
        messages: impl Iterator<Item = &'a Message>,
    ) -> Result<Gone, StoreError> {
        let places = messages.map(|message| (&*message.room, message.seq));
        self.gone_at(places).await
    }

    /// The same of places in rooms.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn gone_at<'a>(
        &self,
        places: impl Iterator<Item = (&'a str, Seq)>,
    ) -> Result<Gone, StoreError> {
        let old = places.filter(|(_, seq)| may_be_gone(*seq));
        let mut rooms: Vec<&str> = old.map(|(room, _)| room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        if rooms.is_empty() {
            return Ok(Gone::default());
        }
        let known = self.store.retention_of(&rooms).await?;
        // Whichever clock is wrong, nothing is lost by the earlier one.
        let now = now_seq().min(self.store.clock().await?);
        let server_days = self.server_days();
        let until = |room: &&str| {
            let known = known.get(*room).copied().unwrap_or_default();
            ((*room).to_owned(), known.ends_at(server_days, now))
        };
        let mut gone: HashMap<String, Seq> = rooms.iter().map(until).collect();
        gone.retain(|_, until| *until > 0);
        Ok(Gone(gone))
    }

    /// Whether dead letters may have something that has gone since this was asked the last time.
    pub(crate) fn has_gone(&self) -> bool {
        self.has_gone.swap(false, Ordering::AcqRel)
    }

    /// Dead letters that may have something that has gone were not all seen.
    pub(crate) fn look_again(&self) {
        self.has_gone.store(true, Ordering::Release);
    }

    /// Goes on for ever.
    pub(crate) async fn run(&self) {
        let mut rounds = 0u32;
        loop {
            sleep(LOOK_EVERY).await;
            if let Err(error) = self.remove().await {
                tracing::debug!(%error, "what is old could not be taken away just now; tried again in a while");
            }
            if rounds.is_multiple_of(REPLY_LOG_ROUNDS)
                && let Err(error) = self.sweep_reply_log().await
            {
                tracing::debug!(%error, "the log of replies must wait");
            }
            rounds = rounds.wrapping_add(1);
        }
    }

    /// By which time something is to go; none while nothing may, since a clock is wrong.
    async fn now(&self) -> Result<Option<Seq>, StoreError> {
        let now = earlier(now_seq(), self.store.clock().await?);
        let was_told = self.clocks_told.swap(now.is_err(), Ordering::AcqRel);
        if let (Err(apart), false) = (now, was_told) {
            let apart_seconds = apart.as_secs();
            tracing::error!(
                apart_seconds,
                "this machine's clock and the database's are too far apart: nothing that is old is taken away until one of them is set"
            );
        }
        Ok(now.ok())
    }

    /// Takes away what is old in those pages of rooms that nobody else has taken.
    async fn remove(&self) -> Result<(), StoreError> {
        loop {
            let Some(now) = self.now().await? else {
                return Ok(());
            };
            let (store, days) = (&self.store, self.server_days());
            let page = store.take_old_rooms(now, days, ROOMS_AT_ONCE).await?;
            for (room, _) in &page.rooms {
                let mut removed = 0;
                loop {
                    let some = store.remove_old(room, now, days, REMOVED_AT_ONCE).await?;
                    removed += some;
                    // What is left over when this process dies is found in the next round.
                    self.has_gone.store(true, Ordering::Release);
                    if some == 0 {
                        break;
                    }
                    sleep(PAUSE).await;
                }
                metrics::counter!("chinwag_old_messages_removed_total").increment(removed);
                tracing::debug!(room, removed, "what was old is gone");
            }
            if !page.is_more {
                return Ok(());
            }
            sleep(PAGE_PAUSE).await;
        }
    }

    async fn sweep_reply_log(&self) -> Result<(), StoreError> {
        if self.keeping.reply_log_days == 0 {
            return Ok(());
        }
        let kept = Duration::from_secs(u64::from(self.keeping.reply_log_days) * 24 * 60 * 60);
        let Some(now) = self.now().await? else {
            return Ok(());
        };
        let since = UNIX_EPOCH + Duration::from_micros(now).saturating_sub(kept);
        let mut day = humantime::format_rfc3339_seconds(since).to_string();
        day.truncate("2026-11-22".len());
        while self.store.sweep_reply_log(&day, REMOVED_AT_ONCE).await? > 0 {
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_by_a_clock_that_is_wrong() {
        let hour = 60 * 60 * 1_000_000;
        let now = 20_000 * 24 * hour;
        assert_eq!(earlier(now, now), Ok(now));
        assert_eq!(earlier(now + hour, now), Ok(now), "whichever is ahead");
        assert_eq!(earlier(now, now + hour), Ok(now));
        let year = 365 * 24 * hour;
        for (own, of_database) in [(now + year, now), (now, now + year), (now - year, now)] {
            assert_eq!(earlier(own, of_database), Err(Duration::from_micros(year)));
        }
        assert!(earlier(now, now + hour + 1).is_err());
    }
}
