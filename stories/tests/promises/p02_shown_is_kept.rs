//! P2: what was broadcast ends in the database, even if the process that broadcast it died before the confirm.

use std::time::Duration;

use common::store::Messages;
use stories::{Chat, Direction, Setup, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_dies_after_showing_a_message_and_before_handing_it_to_the_queue() {
    let mut chat = Chat::with(Setup {
        edges: 1,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let (edge, wire) = chat.service_on_a_wire("ws-edge", "edge-on-a-wire").await;
    chat.edges.push(edge);
    let [bob] = chat.join_at(0, "lobby", ["bob"]).await;
    let [mut ada] = chat.join_at(1, "lobby", ["ada"]).await;
    wire.hold(Direction::ToEngine);
    let id = ada.says("you all saw it").await;
    let shown = bob.hears("ada", "you all saw it").await;
    chat.edges[1].kill();
    wire.cut();
    // Nobody reads the room again, and yet it gets there: another edge finds it missing.
    let database = chat.database().await;
    let stored = until(
        "the shown message is in the database",
        Duration::from_secs(90),
        async || {
            database
                .find("lobby", id)
                .await
                .expect("the database is there")
        },
    )
    .await;
    assert_eq!(stored.seq, shown["seq"].as_u64().expect("a seq"));
    assert_eq!(stored.message, "you all saw it");
    // Until then, too, the history had it.
    assert_eq!(
        bob.history().await.last().expect("one message")["id"],
        id.to_string()
    );
}
