//! P8: a slow reader never delays the rest, memory per connection is bounded, and the slow one is caught up.

use stories::{Chat, PATIENCE, Setup, assert_one_order, until};
use tokio::net::TcpSocket;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_people_stop_reading_while_others_talk() {
    let chat = Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    // Sockets with tiny buffers on which nobody reads after the `joined`.
    let mut sleepers = Vec::new();
    for _ in 0..20 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("a size");
        let stream = socket
            .connect(chat.edges[0].listen)
            .await
            .expect("the edge is there");
        let opened = bob.client.opens_over(stream, "/ws").await;
        let mut sleeper = opened.expect("the edge takes the socket");
        sleeper.joins("lobby", None).await;
        sleepers.push(sleeper);
    }
    let before = chat.edges[0].resident_kib();
    const COUNT: usize = 800;
    let long = "x".repeat(3_900);
    let mut said = Vec::new();
    for n in 0..COUNT {
        said.push(ada.says(&format!("{n} {long}")).await);
        if n % 50 == 49 {
            ada.is_acked(said[n]).await;
        }
    }
    let heard = until(
        "the one who reads has heard everything",
        PATIENCE,
        async || {
            let messages = bob.messages();
            (messages.len() >= COUNT).then_some(messages)
        },
    )
    .await;
    assert_one_order(&heard);
    // 800 messages of 4 KB for 20 sleepers would be 62 MiB if each had a queue of its own.
    let grown = chat.edges[0].resident_kib().saturating_sub(before);
    assert!(
        grown < 40 * 1024,
        "20 sleepers and 3 MiB of messages took {grown} KiB"
    );
    // They wake up, and nothing is missing.
    let mut sleeper = sleepers.swap_remove(0);
    let mut caught_up = Vec::new();
    while caught_up.len() < COUNT {
        caught_up.push(sleeper.hears("message").await);
    }
    assert_eq!(caught_up, heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_the_greatest_size_go_through_whole() {
    let chat = Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    // 4,000 characters of four bytes each, the most that a message may have.
    let text = "\u{1F980}".repeat(common::wire::MESSAGE_MAX_CHARS);
    let (id, _) = ada.says_and_is_acked(&text).await;
    assert_eq!(bob.hears("ada", &text).await["id"], id.to_string());
}
