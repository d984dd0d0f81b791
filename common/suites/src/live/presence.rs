//! Who is in a room.

use common::live::{LiveEvent, PRESENCE_MAX_USERS};

use super::side::{Says, Side, eventually, says};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn frame(room: &str, users: &[&str]) -> String {
    let users = users.iter().map(|user| format!("{user:?}"));
    let users = users.collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"presence","room":"{room}","users":[{users}]}}"#)
}

pub async fn who_is_there_is_the_union_of_all_processes(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let one = async |users: &[&str]| {
        side.one
            .announce("one", "lobby", &names(users))
            .await
            .unwrap()
    };
    let two = async |users: &[&str]| {
        side.two
            .announce("two", "lobby", &names(users))
            .await
            .unwrap()
    };

    assert_eq!(one(&["carol", "ada"]).await, ["ada", "carol"]);
    assert_eq!(bob.signal().await, frame("lobby", &["ada", "carol"]));
    assert_eq!(two(&["bob", "ada"]).await, ["ada", "bob", "carol"]);
    assert_eq!(bob.signal().await, frame("lobby", &["ada", "bob", "carol"]));
    assert_eq!(one(&["carol"]).await, ["ada", "bob", "carol"]);
    assert_eq!(two(&[]).await, ["carol"]);
    assert_eq!(bob.signal().await, frame("lobby", &["carol"]));
    assert!(one(&[]).await.is_empty());
    assert_eq!(bob.signal().await, frame("lobby", &[]));
    assert!(two(&[]).await.is_empty());
    assert_eq!(two(&["bob"]).await, ["bob"]);
    assert_eq!(bob.signal().await, frame("lobby", &["bob"]));
}

pub async fn nothing_is_shown_when_nothing_changed(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    for _ in 0..5 {
        side.one
            .announce("one", "lobby", &names(&["ada"]))
            .await
            .unwrap();
        side.two
            .announce("two", "lobby", &names(&["ada"]))
            .await
            .unwrap();
        side.two.announce("two", "lobby", &[]).await.unwrap();
        side.two.announce("three", "lobby", &[]).await.unwrap();
    }
    assert_eq!(bob.signal().await, frame("lobby", &["ada"]));
    let posted = side.one.post(&says("lobby", "ada", "just me")).await;
    assert_eq!(bob.message().await, posted);
}

pub async fn who_was_on_a_dead_process_is_gone_after_a_while(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    side.one
        .announce("one", "lobby", &names(&["ada"]))
        .await
        .unwrap();
    let union = side.two.announce("two", "lobby", &names(&["bob"])).await;
    assert_eq!(union.unwrap(), ["ada", "bob"]);
    // The first process says no more; the second repeats itself, and is never gone.
    eventually("ada is gone", async || {
        let union = side.two.announce("two", "lobby", &names(&["bob"])).await;
        let union = union.unwrap();
        assert!(union.contains(&"bob".to_owned()));
        union == ["bob"]
    })
    .await;
    assert_eq!(bob.signal().await, frame("lobby", &["ada"]));
    assert_eq!(bob.signal().await, frame("lobby", &["ada", "bob"]));
    assert_eq!(bob.signal().await, frame("lobby", &["bob"]));
}

pub async fn a_presence_has_a_limit(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let crowd = |prefix: &str| -> Vec<String> {
        (0..PRESENCE_MAX_USERS + 50)
            .map(|number| format!("{prefix}-{number:04}"))
            .collect()
    };
    side.one
        .announce("one", "lobby", &crowd("a"))
        .await
        .unwrap();
    let union = side
        .two
        .announce("two", "lobby", &crowd("b"))
        .await
        .unwrap();
    assert_eq!(union, crowd("a")[..PRESENCE_MAX_USERS]);
    let shown = bob.next().await;
    let LiveEvent::Signal { frame, .. } = shown else {
        panic!("{shown:?}");
    };
    let shown: serde_json::Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(shown["users"].as_array().unwrap().len(), PRESENCE_MAX_USERS);
}
