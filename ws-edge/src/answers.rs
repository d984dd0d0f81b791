//! The memory of answers that were made and are not read yet. Who asks for much and never reads it holds no more than a
//! share of it: of a person, of an address, of a site; and all of them together no more than there is.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    http::Response,
};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    network::{Network, SITE_SHARE, Site, network, site},
    problem::Problem,
};

/// What they are counted in.
const UNIT_BYTES: usize = 1024;

/// What one person's may hold: two pages of a history at their largest. In [`UNIT_BYTES`], as what follows.
const USER_MOST: u32 = 16 * 1024;

/// And those to one address: the people of a school who all load a page at once, and a few slow ones among them.
const ADDRESS_MOST: u32 = 64 * 1024;

/// And those to one site.
const SITE_MOST: u32 = SITE_SHARE * ADDRESS_MOST;

/// What one person's sockets may hold of what they missed in rooms, beside what all sockets share.
const REPLAYS_MOST: u32 = 64 * 1024;

/// And those of all people at one address; a site has [`SITE_SHARE`] times as much.
const ADDRESS_REPLAYS_MOST: u32 = 256 * 1024;

/// And all of an edge: answers, and as much again of replays.
const ALL_MOST: u32 = 1024 * 1024;

/// So many readers are known before those are forgotten who hold nothing: others hold a connection each.
const READERS_MAX: usize = 200_000;

/// How long a call waits for others to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers up to this size are not counted: the connection's own buffers hold as much.
const SMALL_BYTES: u64 = 16 * 1024;

/// How much of an answer is handed on at once; what was handed on is the connection's, and bounded there.
const SLICE_BYTES: usize = 16 * 1024;

/// What compressing an answer takes as long as it goes on.
const COMPRESSOR_BYTES: usize = 320 * 1024;

/// All such memory of one edge, and who holds how much of it.
pub(crate) struct Answers {
    all: Arc<Semaphore>,
    all_replays: Arc<Semaphore>,
    shares: Mutex<HashMap<Reader, Arc<Semaphore>>>,
}

/// Who shares what.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Reader {
    User(String),
    Replays(String),
    ReplaysOfNetwork(Network),
    ReplaysOfSite(Site),
    Network(Network),
    Site(Site),
}

/// Memory that is held until this is dropped.
pub(crate) struct AnswerMemory(Vec<OwnedSemaphorePermit>);

impl AnswerMemory {
    /// It is no more than this, as it turned out.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let needed = units(bytes) as usize;
        for held in &mut self.0 {
            let spare = held.num_permits().saturating_sub(needed);
            drop(held.split(spare));
        }
    }

    /// What is held for the same answer beside it.
    pub(crate) fn join(&mut self, other: AnswerMemory) {
        self.0.extend(other.0);
    }
}

impl Answers {
    pub(crate) fn new() -> Answers {
        Answers {
            all: Arc::new(Semaphore::new(ALL_MOST as usize)),
            all_replays: Arc::new(Semaphore::new(ALL_MOST as usize)),
            shares: Mutex::default(),
        }
    }

    /// Memory for an answer of so many bytes at most, to somebody at an address. Waits a moment for others' to be read;
    /// what waits holds shares that only the same person and address could use.
    ///
    /// # Errors
    /// 429 if there is none in time.
    pub(crate) async fn memory(
        &self,
        user: Option<&str>,
        address: IpAddr,
        bytes: usize,
    ) -> Result<AnswerMemory, Problem> {
        let units = units(bytes).min(USER_MOST);
        let user = user.map(|user| self.share(Reader::User(user.to_owned()), USER_MOST));
        let shares = user.into_iter().chain([
            self.share(Reader::Network(network(address)), ADDRESS_MOST),
            self.share(Reader::Site(site(address)), SITE_MOST),
            Arc::clone(&self.all),
        ]);
        let take = async {
            let mut held = Vec::with_capacity(4);
            for share in shares {
                let permit = share.acquire_many_owned(units).await;
                held.push(permit.expect("the semaphores are never closed"));
            }
            AnswerMemory(held)
        };
        timeout(PATIENCE, take).await.map_err(|_| {
            let words = "answers that you or others at your address asked for and have not read hold all the memory \
                         that there is for them";
            Problem::rate_limited(words, PATIENCE)
        })
    }

    /// Memory for what a socket of somebody's missed. Waits for as long as it takes: what is waited for is the same
    /// person's, or the same address's.
    pub(crate) async fn memory_for_replay(
        &self,
        user: &str,
        address: IpAddr,
        bytes: usize,
    ) -> AnswerMemory {
        let mut held = Vec::with_capacity(4);
        for share in [
            self.share(Reader::Replays(user.to_owned()), REPLAYS_MOST),
            self.share(
                Reader::ReplaysOfNetwork(network(address)),
                ADDRESS_REPLAYS_MOST,
            ),
            self.share(
                Reader::ReplaysOfSite(site(address)),
                SITE_SHARE * ADDRESS_REPLAYS_MOST,
            ),
            Arc::clone(&self.all_replays),
        ] {
            let permit = share.acquire_many_owned(units(bytes)).await;
            held.push(permit.expect("the semaphores are never closed"));
        }
        AnswerMemory(held)
    }

    fn share(&self, reader: Reader, most: u32) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if shares.len() >= READERS_MAX && !shares.contains_key(&reader) {
            forget_idle(&mut shares);
        }
        let share = shares.entry(reader);
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(most as usize))))
    }

    /// Forgets who holds nothing. Called on a timer.
    pub(crate) fn upkeep(&self) {
        let mut shares = self.shares.lock();
        forget_idle(&mut shares);
        shares.shrink_to_fit();
    }

    /// Hands an answer's body on in slices, so that its memory is counted and given back when the last of it was taken.
    /// Before it is compressed: how much it is is known there.
    ///
    /// # Errors
    /// As [`Answers::memory`].
    pub(crate) async fn in_slices(
        &self,
        address: IpAddr,
        answer: Response<Body>,
    ) -> Result<Response<Body>, Problem> {
        let bytes = answer.body().size_hint().exact().unwrap_or(0);
        if bytes <= SMALL_BYTES {
            return Ok(answer);
        }
        let (mut parts, body) = answer.into_parts();
        if parts.extensions.get::<Arc<AnswerMemory>>().is_none() {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let memory = self.memory(None, address, bytes).await?;
            parts.extensions.insert(Arc::new(memory));
        }
        // It is all there: this takes no time.
        let whole = to_bytes(body, usize::MAX).await;
        let whole = whole.map_err(|_| Problem::internal())?;
        Ok(Response::from_parts(parts, Body::new(Slices(whole))))
    }

    /// Keeps what an answer holds until it is read, and what compressing it takes.
    ///
    /// # Errors
    /// As [`Answers::memory`].
    pub(crate) async fn until_read(
        &self,
        address: IpAddr,
        answer: Response<Body>,
    ) -> Result<Response<Body>, Problem> {
        let (mut parts, body) = answer.into_parts();
        let own = parts.extensions.remove::<Arc<AnswerMemory>>();
        // What was compressed before has a length.
        let is_compressed =
            parts.headers.contains_key("content-encoding") && body.size_hint().exact().is_none();
        let compressor = if is_compressed {
            Some(self.memory(None, address, COMPRESSOR_BYTES).await?)
        } else {
            None
        };
        if own.is_none() && compressor.is_none() {
            return Ok(Response::from_parts(parts, body));
        }
        Ok(held(Response::from_parts(parts, body), (own, compressor)))
    }
}

/// Keeps something until an answer was taken, or is no longer wanted.
pub(crate) fn held<T: Send + Unpin + 'static>(answer: Response<Body>, what: T) -> Response<Body> {
    answer.map(|body| Body::new(HeldBody { body, _held: what }))
}

/// Whoever holds some, or waits for it, holds the share as well.
fn forget_idle(shares: &mut HashMap<Reader, Arc<Semaphore>>) {
    shares.retain(|_, share| Arc::strong_count(share) > 1);
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// A body that is all there, slice by slice. Each is a copy: one that shared the whole would keep all of it until the
/// last was written.
struct Slices(Bytes);

impl HttpBody for Slices {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.0.len().min(SLICE_BYTES);
        let slice = Bytes::copy_from_slice(&self.0.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// A body, and what is held as long as it is there.
struct HeldBody<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for HeldBody<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn at(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_holds_a_share_and_takes_nothing_from_others() {
        let answers = Answers::new();
        let mut held = Vec::new();
        while let Ok(memory) = answers.memory(Some("eve"), at(1), 4 * MIB).await {
            held.push(memory);
        }
        assert_eq!(held.len(), 4);
        assert!(answers.memory(Some("ada"), at(1), 4 * MIB).await.is_ok());
        let mut more = Vec::new();
        for n in 0..100 {
            let somebody = format!("eve{n}");
            more.extend(answers.memory(Some(&somebody), at(1), 16 * MIB).await.ok());
        }
        assert_eq!(more.len(), 3, "an address has its share as well");
        assert!(answers.memory(Some("ada"), at(2), 16 * MIB).await.is_ok());
        held[0].shrink_to(MIB);
        assert!(answers.memory(Some("eve"), at(1), 3 * MIB).await.is_ok());
        drop((held, more));
        answers.upkeep();
        assert!(answers.shares.lock().is_empty());
    }

    #[tokio::test]
    async fn an_answer_gives_its_memory_back_when_the_last_of_it_was_taken() {
        let answers = Answers::new();
        let text = vec![b'x'; 100_000];
        let answer = Response::new(Body::from(text.clone()));
        let answer = answers.in_slices(at(1), answer).await.unwrap();
        let answer = answers.until_read(at(1), answer).await.unwrap();
        assert_eq!(answer.body().size_hint().exact(), Some(100_000));
        assert_eq!(answers.all.available_permits(), ALL_MOST as usize - 98);
        let taken = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!(taken, text);
        assert_eq!(answers.all.available_permits(), ALL_MOST as usize);
    }
}
