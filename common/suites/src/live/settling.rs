//! The list of rooms in which a message may have been shown and not handed on.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::live::{Live, Unsettled};
use tokio::time::{Instant, sleep};

use super::side::{Says, Side, eventually, says};

/// How the list has this room, if it has it.
async fn listed(live: &Arc<dyn Live>, room: &str) -> Option<Unsettled> {
    let list = live.unsettled(1_000).await.unwrap();
    list.into_iter().find(|unsettled| unsettled.room == room)
}

/// Settles a room, as soon as it can be.
pub async fn settle(live: &Arc<dyn Live>, room: &str) {
    eventually("the room is settled", async || {
        match listed(live, room).await {
            Some(unsettled) => live.settled(&unsettled).await.unwrap(),
            None => return true,
        }
        listed(live, room).await.is_none()
    })
    .await;
}

pub async fn a_message_makes_its_room_unsettled_until_it_is_settled(side: Side) {
    assert_eq!(side.two.unsettled(10).await.unwrap(), []);
    side.one.post(&says("lobby", "ada", "first")).await;
    side.one.post(&says("attic", "ada", "first")).await;
    assert!(listed(&side.two, "lobby").await.is_some());
    assert_eq!(side.two.unsettled(1).await.unwrap().len(), 1);
    settle(&side.two, "lobby").await;
    assert!(listed(&side.one, "attic").await.is_some());
    assert!(listed(&side.one, "lobby").await.is_none());

    side.one.post(&says("lobby", "ada", "second")).await;
    assert!(listed(&side.two, "lobby").await.is_some());
}

pub async fn a_message_that_comes_meanwhile_keeps_its_room_unsettled(side: Side) {
    side.one.post(&says("lobby", "ada", "first")).await;
    let mut read = None;
    eventually("the room can be settled", async || {
        read = listed(&side.two, "lobby").await;
        read.as_ref().is_some_and(|room| room.version > 0)
    })
    .await;
    side.one.post(&says("lobby", "ada", "second")).await;
    side.two.settled(&read.unwrap()).await.unwrap();
    assert!(listed(&side.two, "lobby").await.is_some());
}

/// One process talks all the time; another settles whenever it can, having read the stream. Whatever is in the stream
/// and was not there when the room was last settled must leave the room on the list.
pub async fn nothing_that_comes_while_settling_is_overlooked(side: Side) {
    let stop = Arc::new(AtomicBool::new(false));
    let talking = {
        let (live, stop) = (side.one.clone(), stop.clone());
        tokio::spawn(async move {
            let mut pause = 1;
            while !stop.load(Ordering::Relaxed) {
                live.post(&says("lobby", "ada", "on and on")).await;
                // Pauses of all lengths, so that settling comes through now and then.
                sleep(Duration::from_millis(pause)).await;
                pause = pause * 5 % 3_499;
            }
        })
    };
    let (mut seen, mut settled) = (HashSet::new(), 0);
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        let Some(unsettled) = listed(&side.two, "lobby").await else {
            // Not on the list: then what was seen is all there is.
            let stream = side.two.tail("lobby", 0, 20_000).await.unwrap().messages;
            if listed(&side.two, "lobby").await.is_none() {
                assert!(stream.iter().all(|message| seen.contains(&message.id)));
            }
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let stream = side.two.tail("lobby", 0, 20_000).await.unwrap().messages;
        side.two.settled(&unsettled).await.unwrap();
        if listed(&side.two, "lobby").await.is_none() {
            settled += 1;
        }
        seen.extend(stream.iter().map(|message| message.id));
    }
    stop.store(true, Ordering::Relaxed);
    talking.await.unwrap();
    assert!(settled > 0);
}
