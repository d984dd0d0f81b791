//! The list of rooms in which a message may have been shown and not handed on.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::live::{Live, Looker, Unsettled};
use tokio::time::{Instant, sleep};

use super::side::{PATIENCE, Says, Side, eventually, says};

/// What the rooms are compared with, where a story does not say otherwise.
const SERVER: &str = "the server";

/// How the list has this room, if it has it.
async fn listed(live: &Arc<dyn Live>, room: &str) -> Option<Unsettled> {
    let list = live.unsettled(1_000, SERVER).await.unwrap();
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
    assert_eq!(side.two.unsettled(10, SERVER).await.unwrap(), []);
    side.one.post(&says("lobby", "ada", "first")).await;
    side.one.post(&says("attic", "ada", "first")).await;
    assert!(listed(&side.two, "lobby").await.is_some());
    assert_eq!(side.two.unsettled(1, SERVER).await.unwrap().len(), 1);
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
    let since = Instant::now();
    let (at_least, at_most) = (Duration::from_secs(12), 3 * PATIENCE);
    // Where a look takes long, only the longest of the pauses is long enough.
    while since.elapsed() < at_least || settled == 0 && since.elapsed() < at_most {
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

/// Of several processes that look at rooms for all, as where many share an engine, each room has one, until that dies or
/// says that it could not look.
pub async fn a_room_is_looked_at_by_one_process_at_a_time(side: Side) {
    let [one, two] = ["one", "two"].map(str::to_owned);
    let takes = async |process: &str, failed: &[&str]| {
        let failed = failed.iter().map(|room| (*room).to_owned()).collect();
        let looker = Looker {
            process: process.to_owned(),
            failed,
        };
        let taken = side.two.take_unsettled(10, SERVER, &looker).await.unwrap();
        let mut taken: Vec<String> = taken.into_iter().map(|room| room.room).collect();
        taken.sort_unstable();
        taken
    };
    // Where one process is all there are, it has them all, whatever it calls itself.
    let is_shared = async || takes(&two, &[]).await.is_empty();
    for room in ["lobby", "attic"] {
        side.one.post(&says(room, "ada", "first")).await;
    }
    assert_eq!(takes(&one, &[]).await, ["attic", "lobby"]);
    if !is_shared().await {
        return;
    }
    assert_eq!(takes(&one, &[]).await, ["attic", "lobby"], "it keeps them");
    assert_eq!(takes(&two, &[]).await, [""; 0]);
    side.one.post(&says("cellar", "ada", "first")).await;
    assert_eq!(takes(&two, &[]).await, ["cellar"]);
    assert_eq!(takes(&one, &["attic"]).await, ["lobby"]);
    assert_eq!(takes(&two, &["attic"]).await, ["cellar"]);
    assert_eq!(takes(&two, &[]).await, ["attic", "cellar"]);
    assert_eq!(
        side.one.unsettled(10, SERVER).await.unwrap().len(),
        3,
        "whoever only looks on sees all"
    );
    eventually("what a dead process had is another's", async || {
        takes(&two, &[]).await.len() == 3
    })
    .await;
}

/// What was seen in one database need not be in another one.
pub async fn with_another_server_what_was_settled_is_compared_again(side: Side) {
    let server = |side: &Side, server| {
        let live = side.two.clone();
        async move { live.unsettled(10, server).await.unwrap() }
    };
    for room in ["lobby", "attic", "cellar"] {
        side.one.post(&says(room, "ada", "first")).await;
    }
    let mut read = None;
    eventually("the attic can be settled", async || {
        read = listed(&side.two, "attic").await;
        read.as_ref().is_some_and(|room| room.version > 0)
    })
    .await;
    let attic = read.unwrap();
    settle(&side.two, "lobby").await;
    settle(&side.two, "cellar").await;

    let again = server(&side, "a replica").await;
    let mut rooms: Vec<&str> = again.iter().map(|room| room.room.as_str()).collect();
    rooms.sort_unstable();
    assert_eq!(rooms, ["attic", "cellar", "lobby"]);
    assert!(
        again.iter().all(|room| room.round > attic.round),
        "{again:?}"
    );
    // What was read of the other server settles nothing.
    side.two.settled(&attic).await.unwrap();
    assert_eq!(server(&side, "a replica").await.len(), 3);
    for room in &again {
        // One that is too young to be settled is settled later.
        side.one.settled(room).await.unwrap();
    }
    let left = server(&side, "a replica").await;
    assert!(
        left.iter()
            .all(|room| !["cellar", "lobby"].contains(&&*room.room)),
        "{left:?}"
    );

    // Once more, because somebody wishes it.
    side.one.compare_anew().await.unwrap();
    let again = server(&side, "a replica").await;
    assert_eq!(again.len(), 3, "{again:?}");
    let lobby = again.iter().find(|room| room.room == "lobby").unwrap();
    side.one.settled(lobby).await.unwrap();
    assert_eq!(server(&side, "a replica").await.len(), 2);
    // What comes meanwhile is another reason to look, and stays one.
    side.one.post(&says("cellar", "ada", "second")).await;
    let cellar = again.iter().find(|room| room.room == "cellar").unwrap();
    side.one.settled(cellar).await.unwrap();
    let left = server(&side, "a replica").await;
    assert!(left.iter().any(|room| room.room == "cellar"), "{left:?}");
}
