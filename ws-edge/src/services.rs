//! What calls and sockets both stand on. What is only one side's is with that side.

use std::{sync::Arc, time::Duration};

use common::{
    live::{Control, Live},
    posting::Poster,
    queue::Queue,
    store::Store,
    timeline::Timeline,
};

use crate::{
    EdgeSettings, access::Access, admission::Admission, allowances::Allowances, answers::Answers,
    departures::DeletedAccounts, limits::RateLimits, sessions::Sessions,
};

/// The engines of one edge, and what it knows and remembers of what is in them.
pub(crate) struct Services {
    pub(crate) live: Arc<dyn Live>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) poster: Poster,
    pub(crate) timeline: Timeline,
    pub(crate) sessions: Sessions,
    pub(crate) access: Access,
    pub(crate) limits: RateLimits,
    pub(crate) admission: Arc<Admission>,
    pub(crate) answers: Answers,
    pub(crate) allowances: Allowances,
    pub(crate) deleted_accounts: DeletedAccounts,
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
            limits: RateLimits::new(settings),
            admission: Arc::new(Admission::new(settings)),
            answers: Answers::new(),
            allowances: Allowances::new(&settings.people),
            deleted_accounts: DeletedAccounts::new(Arc::clone(&store)),
            live,
            store,
            poster,
            timeline,
        }
    }

    /// Forgets what is not so any more, after a control. Idempotent: this process's own words come back to it.
    pub(crate) fn forget(&self, control: &Control) {
        match control {
            Control::SessionRevoked { session } => self.sessions.forget(*session),
            Control::RoomChanged { room } => self.access.forget(room),
            Control::Invited { room, .. } => self.access.forget(room),
            Control::StopReply { .. } => {}
        }
    }

    /// Forgets all that a control could have said: some may have been missed.
    pub(crate) fn forget_all(&self) {
        self.sessions.forget_all();
        self.access.forget_all();
    }
}
