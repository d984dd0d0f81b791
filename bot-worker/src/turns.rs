//! In one room one request at a time, in the order in which they came: a bot that answered two at once would write
//! them into each other, and the second without knowing what it said to the first. It holds within this worker.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker},
};

use tokio::sync::{Mutex as Turnstile, OwnedMutexGuard};

/// Rooms are swept out when there are twice as many as were left the last time, and not below this.
const SWEEP_FROM: usize = 64;

/// The rooms in which somebody waits or is being answered.
#[derive(Debug, Default)]
pub struct Turns {
    rooms: Mutex<Rooms>,
}

#[derive(Debug, Default)]
struct Rooms {
    turnstiles: HashMap<String, Weak<Turnstile<()>>>,
    sweep_at: usize,
}

/// A place in a room's line. Dropped, it is given up, and nobody behind it loses theirs.
pub struct Turn {
    state: TurnState,
}

enum TurnState {
    Come(OwnedMutexGuard<()>),
    Waiting(Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>),
}

impl Turns {
    /// Takes the last place in a room's line, at once: places go by the order of these calls.
    pub fn line_up(&self, room: &str) -> Turn {
        let turnstile = self.turnstile(room);
        let mut waiting = Box::pin(turnstile.lock_owned());
        // The turnstile is fair, and the first poll is what takes the place.
        let state = match waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(come) => TurnState::Come(come),
            Poll::Pending => TurnState::Waiting(waiting),
        };
        Turn { state }
    }

    fn turnstile(&self, room: &str) -> Arc<Turnstile<()>> {
        let mut rooms = self.rooms.lock().expect("nothing panics while holding it");
        if let Some(turnstile) = rooms.turnstiles.get(room).and_then(Weak::upgrade) {
            return turnstile;
        }
        if rooms.turnstiles.len() >= rooms.sweep_at.max(SWEEP_FROM) {
            rooms
                .turnstiles
                .retain(|_, turnstile| turnstile.strong_count() > 0);
            rooms.sweep_at = 2 * rooms.turnstiles.len();
        }
        let turnstile = Arc::default();
        rooms
            .turnstiles
            .insert(room.to_owned(), Arc::downgrade(&turnstile));
        turnstile
    }
}

impl Turn {
    /// Waits until it is this one's turn, which lasts until what is returned is dropped. Safe to cancel: the place is
    /// then given up.
    pub async fn comes(self) -> OwnedMutexGuard<()> {
        match self.state {
            TurnState::Come(come) => come,
            TurnState::Waiting(waiting) => waiting.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_room_takes_turns_in_order_and_rooms_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.line_up("lobby"));
        let elsewhere = turns.line_up("elsewhere");
        let at_first = first.comes().now_or_never().unwrap();
        assert!(elsewhere.comes().now_or_never().is_some());
        let (mut second, mut third) = (Box::pin(second.comes()), Box::pin(third.comes()));
        assert!((&mut third).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(at_first);
        assert!((&mut third).now_or_never().is_none());
        let at_second = second.await;
        assert!((&mut third).now_or_never().is_none());
        drop(at_second);
        third.await;
    }

    #[tokio::test]
    async fn a_place_given_up_lets_nobody_pass_who_is_not_next() {
        let turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.line_up("lobby"));
        let at_first = first.comes().await;
        drop(second);
        let mut third = Box::pin(third.comes());
        assert!(
            (&mut third).now_or_never().is_none(),
            "the first is still at it"
        );
        drop(at_first);
        third.await;
    }

    #[tokio::test]
    async fn rooms_without_anyone_are_forgotten() {
        let turns = Turns::default();
        let held = turns.line_up("held");
        for n in 0..1_000 {
            drop(turns.line_up(&format!("room-{n}")));
        }
        assert!(turns.rooms.lock().unwrap().turnstiles.len() <= 2 * SWEEP_FROM);
        assert!(turns.line_up("held").comes().now_or_never().is_none());
        drop(held);
    }
}
