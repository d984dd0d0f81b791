//! Who may come in at the network's edge: how many connections an address may have and how often it may call, how often
//! a person may. Each edge counts for itself, in memory, and what it counts is bounded. See
//! `docs/decisions/shares-at-the-edge.md`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use crate::{
    EdgeSettings,
    callers::{CallerPlace, Callers},
    known_addresses::KnownAddresses,
    network::{Network, SITE_SHARE, Site, network, site},
    open_files::open_files_allowed,
    problem::Problem,
    seldom::Seldom,
    shares::{Rates, Share, Shares},
};

/// The most connections that are not (or not yet) WebSockets. Sockets have their own limit.
const CONNECTIONS_MAX: usize = 10_000;

/// The part of the files that the process may have open which they take at most: without files nobody gets in at all.
const FILES_PART: usize = 4;

/// When a connection may be tried again that was one too many.
const CONNECT_AGAIN: Duration = Duration::from_secs(5);

/// So much of an answer counts as one call: several times a page of the messages that people write.
const ANSWER_BYTES: usize = 64 * 1024;

/// So many rooms of a list count as one call: up to a hundred rows are read in each.
const ANSWER_ROOMS: usize = 20;

/// The headers in which proxies write down the client's address.
const FORWARDING_HEADERS: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "x-client-ip",
];

/// Between two warnings about the same mistake in how proxies are set.
const WARN_EVERY: Duration = Duration::from_secs(3_600);

/// What is allowed at the door of one edge.
pub(crate) struct Admission {
    settings: EdgeSettings,
    callers: Arc<Callers>,
    connections: Arc<Shares<Network>>,
    site_connections: Arc<Shares<Site>>,
    opens: AddressRates,
    calls: AddressRates,
    /// Apart from the calls: who used those up must still see the page, and what it says about that.
    pages: AddressRates,
    user_calls: Rates<String>,
    known: KnownAddresses,
    not_set: Seldom,
    not_sent: Seldom,
}

/// Where a call comes from.
#[derive(Clone)]
pub(crate) struct CallOrigin {
    /// The client's, as far as it is known.
    pub(crate) address: IpAddr,
    /// Behind a proxy, the call's share of what the address may have at a time: kept for as long as the call goes on, or
    /// the socket that it becomes. Without one, connections have it.
    pub(crate) shares: Option<Arc<AddressShares>>,
}

/// One of the connections that an address may have, and that its site may.
pub(crate) struct AddressShares {
    _network: Share<Network>,
    _site: Share<Site>,
}

/// What a connection holds that was let in.
pub(crate) struct Admitted {
    /// For the whole of its life; behind a proxy, none.
    pub(crate) shares: Option<AddressShares>,
    /// For as long as it is no WebSocket.
    pub(crate) place: CallerPlace,
}

/// Why a connection was not let in.
pub(crate) enum NotAdmitted {
    /// Its client is told.
    Told(Problem),
    /// It comes too often for that.
    Silently,
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAdmitted::Told(problem) => f.write_str(&problem.detail),
            NotAdmitted::Silently => f.write_str("its address opens too many a second"),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Whether the process works. Never refused: it costs nothing, and load balancers go by it.
    Health,
    /// The page's files.
    Page,
    /// Everything else.
    Call,
}

impl Admission {
    pub(crate) fn new(settings: &EdgeSettings) -> Admission {
        let connections = settings.address_connections;
        let calls = settings.address_requests_per_second;
        Admission {
            callers: Callers::new(CONNECTIONS_MAX.min(open_files_allowed() / FILES_PART)),
            connections: Shares::new(connections),
            site_connections: Shares::new(connections.saturating_mul(SITE_SHARE as usize)),
            opens: AddressRates::new(calls),
            calls: AddressRates::new(calls),
            pages: AddressRates::new(calls),
            user_calls: Rates::new(settings.user_requests_per_second),
            known: KnownAddresses::default(),
            not_set: Seldom::every(WARN_EVERY),
            not_sent: Seldom::every(WARN_EVERY),
            settings: settings.clone(),
        }
    }

    /// Whether a connection is let in. Behind a proxy all of them come from one address, and it is the calls that tell
    /// whose they are: there only the number of all counts here.
    pub(crate) fn connection(&self, peer: SocketAddr) -> Result<Admitted, NotAdmitted> {
        let (network, site) = (network(peer.ip()), site(peer.ip()));
        let is_behind_proxy = self.is_behind_proxy();
        let mut shares = None;
        if !is_behind_proxy {
            if self.opens.check(peer.ip()).is_err() {
                return Err(NotAdmitted::Silently);
            }
            shares = Some(self.shares(peer.ip()).map_err(NotAdmitted::Told)?);
        }
        let is_known = || self.known.knows(network);
        match self.callers.enter(site, is_behind_proxy, is_known) {
            Some(place) => Ok(Admitted { shares, place }),
            None => Err(NotAdmitted::Told(Problem::unavailable(
                "this edge has as many connections as it may have; the last places are for those who were logged in \
                 lately",
            ))),
        }
    }

    /// Whether connections are a proxy's, which says for each call whose it is.
    pub(crate) fn is_behind_proxy(&self) -> bool {
        self.settings.client_address_header.is_some()
    }

    /// One more connection, or behind a proxy one more call, of an address.
    fn shares(&self, address: IpAddr) -> Result<AddressShares, Problem> {
        let own = self.connections.take(&network(address));
        let all = self.site_connections.take(&site(address));
        let (Some(_network), Some(_site)) = (own, all) else {
            let most = self.settings.address_connections;
            return Err(Problem::rate_limited(
                format!(
                    "your address has as many connections as one may have here (ADDRESS_CONNECTIONS, {most})"
                ),
                CONNECT_AGAIN,
            ));
        };
        Ok(AddressShares { _network, _site })
    }

    /// Whether a call is heard, and where it comes from.
    ///
    /// # Errors
    /// 429 if its address calls too often or has too much under way, 503 if there is hardly a place left.
    pub(crate) fn call(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        kind: CallKind,
    ) -> Result<CallOrigin, Problem> {
        let told = self.told_address(headers);
        let address = told.unwrap_or_else(|| peer.ip());
        let mut origin = CallOrigin {
            address,
            shares: None,
        };
        let rates = match kind {
            CallKind::Health => return Ok(origin),
            CallKind::Page => &self.pages,
            CallKind::Call => &self.calls,
        };
        self.look_at_proxies(peer, headers, told);
        if let Err(wait) = rates.check(address) {
            let most = self.settings.address_requests_per_second;
            return Err(Problem::rate_limited(
                format!("your address calls too often (ADDRESS_REQUESTS_PER_SECOND, {most})"),
                wait,
            ));
        }
        if self.settings.client_address_header.is_some() {
            if self.callers.is_crowded() && !self.known.knows(network(address)) {
                return Err(Problem::unavailable(
                    "this edge has hardly a place left; those are for people who were logged in lately",
                ));
            }
            origin.shares = Some(Arc::new(self.shares(address)?));
        }
        Ok(origin)
    }

    /// Counts a call of somebody who has a session.
    ///
    /// # Errors
    /// 429 if these are too many.
    pub(crate) fn user_call(&self, user: &str, address: IpAddr) -> Result<(), Problem> {
        let now = Instant::now();
        self.known.note(user, network(address), now);
        self.user_calls.check(user.to_owned(), now).map_err(|wait| {
            let most = self.settings.user_requests_per_second;
            Problem::rate_limited(
                format!("you call too often (USER_REQUESTS_PER_SECOND, {most})"),
                wait,
            )
        })
    }

    /// Counts a large answer to somebody's call as more than one: each [`ANSWER_BYTES`] of it.
    pub(crate) fn user_was_answered(&self, user: &str, bytes: usize) {
        self.user_took_further(user, bytes / ANSWER_BYTES);
    }

    /// Counts a long list of rooms as more than one call: each [`ANSWER_ROOMS`] of it, since in each room what is
    /// unread is counted.
    pub(crate) fn user_was_listed(&self, user: &str, rooms: usize) {
        self.user_took_further(user, rooms.saturating_sub(1) / ANSWER_ROOMS);
    }

    fn user_took_further(&self, user: &str, calls: usize) {
        let further = u32::try_from(calls).unwrap_or(u32::MAX);
        if further > 0 {
            self.user_calls
                .charge(user.to_owned(), further, Instant::now());
        }
    }

    /// Somebody's socket from there is in use.
    pub(crate) fn is_in_use(&self, user: &str, address: IpAddr) {
        self.known.note(user, network(address), Instant::now());
    }

    /// Forgets what is over. Called on a timer.
    pub(crate) fn upkeep(&self) {
        let now = Instant::now();
        for rates in [&self.opens, &self.calls, &self.pages] {
            rates.upkeep(now);
        }
        self.user_calls.upkeep(now);
        self.known.upkeep(now);
    }

    /// What the proxy before this edge says.
    fn told_address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let name = self.settings.client_address_header.as_ref()?;
        last_address(headers, name)
    }

    /// Says loudly where the limits of addresses cannot be what they should be.
    fn look_at_proxies(&self, peer: SocketAddr, headers: &HeaderMap, told: Option<IpAddr>) {
        match &self.settings.client_address_header {
            None => {
                let mut names = FORWARDING_HEADERS.iter();
                if let Some(header) = names.find(|name| headers.contains_key(**name))
                    && self.not_set.is_due()
                {
                    tracing::error!(
                        header,
                        proxy = %peer.ip(),
                        "calls come through a proxy and CLIENT_ADDRESS_HEADER is not set: everybody behind it counts \
                         as one address, and what one of them does wrong locks out all. Set it to the header that the \
                         proxy writes and clients cannot"
                    );
                }
            }
            Some(header) => {
                if told.is_none() && self.not_sent.is_due() {
                    tracing::warn!(
                        %header,
                        peer = %peer.ip(),
                        "CLIENT_ADDRESS_HEADER is set and a call came without it: the peer's own address counts for it"
                    );
                }
            }
        }
    }
}

/// The last entry is the trusted proxy's own; those before it are whatever the client wrote.
fn last_address(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let last = last.rsplit(',').next()?.trim();
    let address = last.parse::<IpAddr>().ok();
    address.or_else(|| last.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// How often an address may do something, and the site that it is in.
struct AddressRates {
    networks: Rates<Network>,
    sites: Rates<Site>,
}

impl AddressRates {
    fn new(per_second: u32) -> AddressRates {
        AddressRates {
            networks: Rates::new(per_second),
            sites: Rates::new(per_second.saturating_mul(SITE_SHARE)),
        }
    }

    fn check(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        // Looked at first, so that a site beyond its share fills no table; counted last, so that what one of its
        // networks is refused is not taken from the others.
        self.sites.look(site(address), now)?;
        self.networks.check(network(address), now)?;
        self.sites.check(site(address), now)
    }

    fn upkeep(&self, now: Instant) {
        self.networks.upkeep(now);
        self.sites.upkeep(now);
    }
}
