//! What calls and sockets both stand on. What is only one side's is with that side.

use std::{sync::Arc, time::Duration};

use common::{
    live::{BotOffer, Control, Live},
    posting::Poster,
    queue::Queue,
    store::{DeletedAccounts, Store, StoreError},
    timeline::Timeline,
};
use tokio::{sync::watch, time::sleep};

use crate::{
    EdgeSettings, access::Access, admission::Admission, allowances::Allowances, answers::Answers,
    limits::RateLimits, lost_deletions::LostDeletions, programs::Programs,
    read_marks::ReadingPlaces, sessions::Sessions,
};

/// How many messages of a deleted room are taken away in one statement: its locks are held for some milliseconds.
const ERASED_AT_ONCE: usize = 500;

/// Between two of them, so that whoever writes messages hardly notices.
const ERASE_PAUSE: Duration = Duration::from_millis(10);

/// The engines of one edge, and what it knows and remembers of what is in them.
pub(crate) struct Services {
    pub(crate) live: Arc<dyn Live>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) poster: Poster,
    pub(crate) timeline: Timeline,
    pub(crate) sessions: Sessions,
    pub(crate) access: Access,
    pub(crate) reading_places: ReadingPlaces,
    pub(crate) limits: RateLimits,
    pub(crate) admission: Arc<Admission>,
    pub(crate) answers: Answers,
    pub(crate) allowances: Allowances,
    pub(crate) deleted_accounts: Arc<DeletedAccounts>,
    pub(crate) lost_deletions: Arc<LostDeletions>,
    /// What the bot offers, as its workers last said; none if none was heard yet.
    pub(crate) bot: watch::Sender<Option<BotOffer>>,
    pub(crate) programs: Programs,
}

impl Services {
    pub(crate) fn new(
        live: Arc<dyn Live>,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        settings: &EdgeSettings,
    ) -> Services {
        let poster = Poster::new(Arc::clone(&live), queue, Arc::clone(&store));
        let timeline = Timeline::new(Arc::clone(&live), Arc::clone(&store), poster.clone());
        let days = u64::from(settings.session_days.get());
        let session_lifetime = Duration::from_secs(days * 24 * 60 * 60);
        Services {
            sessions: Sessions::new(
                Arc::clone(&store),
                session_lifetime,
                settings.people.session_longest(),
                settings.secure_cookies,
            ),
            access: Access::new(Arc::clone(&store)),
            reading_places: ReadingPlaces::new(Arc::clone(&store), Arc::clone(&live)),
            limits: RateLimits::new(settings),
            admission: Arc::new(Admission::new(settings)),
            answers: Answers::new(),
            bot: watch::Sender::new(None),
            allowances: Allowances::new(&settings.people),
            // It hears of each account that is deleted.
            deleted_accounts: Arc::new(DeletedAccounts::new(Arc::clone(&store), Duration::MAX)),
            lost_deletions: Arc::new(LostDeletions::new()),
            programs: Programs::new(Arc::clone(&store)),
            live,
            store,
            poster,
            timeline,
        }
    }

    /// Takes away all that was said in a room that was deleted. What is left over when something is away is taken away by
    /// whoever [looks through it](crate::background) next.
    pub(crate) async fn erase(&self, room: &str) {
        if let Err(error) = self.live.erase(room).await {
            tracing::warn!(%error, room, "a deleted room is not erased yet");
        }
        if let Err(error) = self.erase_stored(room).await {
            tracing::warn!(%error, room, "a deleted room's history is not all erased yet");
        }
    }

    async fn erase_stored(&self, room: &str) -> Result<(), StoreError> {
        while self.store.erase_deleted(room, ERASED_AT_ONCE).await? > 0 {
            sleep(ERASE_PAUSE).await;
        }
        Ok(())
    }

    /// Forgets what is not so any more, after a control. Idempotent: this process's own words come back to it.
    pub(crate) fn forget(&self, control: &Control) {
        match control {
            Control::SessionRevoked { session } => self.sessions.forget(*session),
            Control::RoomChanged { room } => self.access.forget(room),
            Control::Invited { room, .. } => self.access.forget(room),
            Control::BotOffers(offer) => {
                self.bot.send_if_modified(|known| {
                    let is_news = known.as_ref() != Some(offer);
                    *known = Some(offer.clone());
                    is_news
                });
            }
            Control::Read { .. } | Control::StopReply { .. } => {}
        }
    }

    /// Forgets all that a control could have said: some may have been missed.
    pub(crate) fn forget_all(&self) {
        self.sessions.forget_all();
        self.access.forget_all();
    }
}
