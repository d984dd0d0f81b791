//! P14: who may come in is what `REGISTRATION` says; a disabled or deleted account has no open socket on any edge within a
//! second, and its tokens are worth nothing from then on.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::Connection as _;
use stories::{Chat, Direction, PATIENCE, Person, Proxy, Setup, run, until};

/// The promise is one second; a machine that is busy with other stories takes longer for anything. Still less than what an edge
/// takes to notice that nothing comes from Redis any more, and to look at its sessions then.
const WITHIN: Duration = Duration::from_secs(3);

async fn two_edges(settings: Vec<(&'static str, String)>) -> Chat {
    Chat::with(Setup {
        edges: 2,
        workers: 0,
        settings,
        ..Setup::default()
    })
    .await
}

/// An operator's job beside the services.
fn job(chat: &Chat, arguments: &[&str]) -> String {
    let (status, said) = run("persister", arguments, &chat.environment);
    assert!(status.success(), "{arguments:?}: {said}");
    said
}

/// Somebody's sockets at both edges.
async fn at_both(chat: &Chat, person: &Person) -> [Person; 2] {
    let mut sockets = [0, 1].map(|edge| Person::from(person.at(&chat.url(edge))));
    for socket in &mut sockets {
        socket.connects().await;
    }
    sockets
}

async fn is_out(sockets: &mut [Person; 2], since: Instant) {
    for socket in sockets.iter() {
        assert_eq!(socket.is_closed().await, 4401);
    }
    let took = since.elapsed();
    assert!(took < WITHIN, "the sockets were open for {took:?}");
    for socket in sockets {
        socket.get("/api/me").await.is(StatusCode::UNAUTHORIZED);
        assert!(
            socket.connects_to("/ws").await.is_err(),
            "the upgrade is refused"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_or_deleted_account_has_no_socket_within_a_second() {
    let chat = two_edges(Vec::new()).await;
    let ada = Person::register(&chat.url(0), "ada").await;
    job(&chat, &["accounts", "make-admin", "ada"]);
    let bob = Person::register(&chat.url(1), "bob").await;
    let mut carol = Person::register(&chat.url(1), "carol").await;
    carol.connects().await;

    let mut bobs = at_both(&chat, &bob).await;
    let began = Instant::now();
    let off = json!({ "disabled": true });
    ada.patch("/api/admin/users/bob", off)
        .await
        .is(StatusCode::OK);
    is_out(&mut bobs, began).await;

    // The same by who has the database alone, and knows no edge.
    ada.patch("/api/admin/users/bob", json!({ "disabled": false }))
        .await
        .is(StatusCode::OK);
    let bob = Person::log_in(&chat.url(0), "bob").await;
    let mut bobs = at_both(&chat, &bob).await;
    job(&chat, &["accounts", "disable", "bob"]);
    is_out(&mut bobs, Instant::now()).await;

    // And of one's own will.
    let mut dave = at_both(&chat, &Person::register(&chat.url(0), "dave").await).await;
    let leaving = json!({ "password": chat_client::PASSWORD, "messages": "keep" });
    let left = dave[0]
        .try_call(Method::DELETE, "/api/me", Some(leaving))
        .await;
    left.expect("an answer").is(StatusCode::NO_CONTENT);
    is_out(&mut dave, Instant::now()).await;
    let again = chat_client::Client::new(chat.url(1))
        .registers("dave")
        .await;
    again.is(StatusCode::CONFLICT);

    carol.joins("carol", None).await;
    carol.says_and_is_acked("I am still here").await;
}

/// Somebody leaves and takes with them what they wrote. The edge that is at it is killed in the middle, and the persister with
/// it; the other edge goes on when the first has been silent for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_takes_with_them_is_gone_whoever_dies_in_the_middle() {
    let chat = two_edges(Vec::new()).await;
    let word = format!("secret{}", uuid::Uuid::new_v4().simple());
    let mut ada = Person::register(&chat.url(0), "ada").await;
    let mut bob = Person::register(&chat.url(1), "bob").await;
    let rooms: Vec<String> = (0..16).map(|number| format!("room-{number}")).collect();
    for person in [&mut ada, &mut bob] {
        person.connects().await;
    }
    for room in &rooms {
        bob.makes_room(room).await.is(StatusCode::CREATED);
        for person in [&mut ada, &mut bob] {
            person.joins(room, None).await;
        }
        bob.says_and_is_acked("this stays").await;
        for number in 0..8 {
            ada.says_and_is_acked(&format!("{word} {number}")).await;
        }
    }
    let mut database = sqlx::MySqlConnection::connect(chat.setting("DATABASE_URL"))
        .await
        .expect("the database is there");
    let mut holding = database.begin().await.expect("a transaction");
    let leaving = json!({ "password": chat_client::PASSWORD, "messages": "delete" });
    let left = ada.try_call(Method::DELETE, "/api/me", Some(leaving)).await;
    left.expect("an answer").is(StatusCode::NO_CONTENT);
    // Whichever edge is at it cannot say how far it has come, and stands still.
    until("an edge is at it", PATIENCE, async || {
        claimed_until(&chat).await.filter(|until| *until > 0)
    })
    .await;
    sqlx::query("SELECT claimed_until_ms FROM departures FOR UPDATE")
        .fetch_one(&mut *holding)
        .await
        .expect("somebody leaves");
    bob.waits_for("a deletion", |frame| frame["type"] == "deleted")
        .await;
    chat.persisters[0].kill();
    for edge in &chat.edges {
        edge.kill();
    }
    let gone = |frames: &[serde_json::Value]| {
        let deleted = frames.iter().filter(|frame| frame["type"] == "deleted");
        deleted.count()
    };
    assert!(gone(&bob.frames()) < 8 * rooms.len(), "in the middle");
    holding.rollback().await.expect("it is let go");
    chat.persisters[0].start_again();
    chat.edges[1].start_again();
    chat.edges[1].ready().await;
    // The claim of who was killed has to lapse: a minute, or nearly two, since what that edge last asked of the database is done now.
    until(
        "another edge has done all of it",
        PATIENCE * 4,
        async || claimed_until(&chat).await.is_none().then_some(()),
    )
    .await;
    crate::everywhere::is_nowhere(&chat, &word).await;
    let bob = Person::log_in(&chat.url(1), "bob").await;
    for room in &rooms {
        let history = bob.get(&format!("/api/rooms/{room}/messages")).await;
        let messages = history.body["messages"]
            .as_array()
            .expect("messages")
            .clone();
        assert_eq!(messages.len(), 9, "{room}");
        assert_eq!(messages[0]["message"], "this stays");
        for message in &messages[1..] {
            assert_eq!(message["deleted"], true, "{message}");
            assert_eq!(message["sender"], "deleted user", "{message}");
        }
    }
}

/// Until when an edge goes on with what somebody takes with them; none if nobody is leaving.
async fn claimed_until(chat: &Chat) -> Option<i64> {
    let mut database = sqlx::MySqlConnection::connect(chat.setting("DATABASE_URL"))
        .await
        .expect("the database is there");
    let query = sqlx::query_scalar("SELECT claimed_until_ms FROM departures");
    query
        .fetch_optional(&mut database)
        .await
        .expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_hears_nothing_closes_them_within_a_second_too() {
    let mut chat = two_edges(Vec::new()).await;
    // The second edge has Redis on a wire of its own.
    chat.edges[1].terminate().await;
    let redis = chat.setting("REDIS_URL").to_owned();
    let wire = Proxy::to(Proxy::host_of(&redis)).await;
    let settings = [("REDIS_URL", wire.instead_of(&redis))];
    chat.edges[1] = chat.service("ws-edge", "deaf", &settings);
    chat.edges[1].ready().await;
    let ada = Person::register(&chat.url(0), "ada").await;
    job(&chat, &["accounts", "make-admin", "ada"]);
    let bob = Person::register(&chat.url(1), "bob").await;
    let mut bobs = at_both(&chat, &bob).await;
    // Nothing comes through: neither what one edge tells the other, nor that the line is gone.
    wire.hold(Direction::ToService);
    let off = json!({ "disabled": true });
    let began = Instant::now();
    ada.patch("/api/admin/users/bob", off)
        .await
        .is(StatusCode::OK);
    is_out(&mut bobs, began).await;
    wire.pass();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_come_in_is_what_registration_says() {
    let chat = two_edges(vec![("REGISTRATION", "invite".to_owned())]).await;
    let stranger = chat_client::Client::new(chat.url(0));
    stranger.registers("ada").await.is_problem(403, "forbidden");
    let said = job(
        &chat,
        &["accounts", "invite", "--admin", "--url", &chat.url(0)],
    );
    let token = |said: &str| {
        said.trim()
            .rsplit("#invite=")
            .next()
            .expect("a link")
            .to_owned()
    };
    let comes = async |edge: usize, token: &str, name: &str| {
        let body = json!({ "username": name, "password": chat_client::PASSWORD, "invite": token });
        chat_client::Client::new(chat.url(edge))
            .post("/api/register", body)
            .await
    };
    // Two come with its one use, at two edges.
    let token = token(&said);
    let (one, other) = tokio::join!(comes(0, &token, "ada"), comes(1, &token, "eve"));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
    let first = if one.status == StatusCode::OK {
        "ada"
    } else {
        "eve"
    };
    let keeper = Person::log_in(&chat.url(1), first).await;
    assert_eq!(keeper.get("/api/me").await.body["admin"], true);
    keeper.get("/api/admin/audit").await.is(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_of_the_one_command_is_who_reads_what_it_prints() {
    let chat = Chat::all_in_one().await;
    let link = until("it prints a link", PATIENCE, async || {
        let log = chat.edges[0].log();
        let link = log.lines().find_map(|line| line.split_once("/#invite="));
        link.map(|(_, token)| token.trim().to_owned())
    })
    .await;
    // Whoever is first is nobody special.
    let bob = Person::register(&chat.url(0), "bob").await;
    bob.get("/api/admin/users").await.is(StatusCode::FORBIDDEN);
    let body = json!({ "username": "ada", "password": chat_client::PASSWORD, "invite": link });
    let stranger = chat_client::Client::new(chat.url(0));
    stranger
        .post("/api/register", body.clone())
        .await
        .is(StatusCode::OK);
    let mut again = body;
    again["username"] = "eve".into();
    stranger
        .post("/api/register", again)
        .await
        .is_problem(403, "forbidden");
    let ada = Person::log_in(&chat.url(0), "ada").await;
    ada.get("/api/admin/users").await.is(StatusCode::OK);

    // The command line, while it runs.
    let mut bobs = bob;
    bobs.connects().await;
    let folder = [("DATA_DIR".to_owned(), chat.setting("DATA_DIR").to_owned())];
    let (status, said) = run("chinwag", &["accounts", "disable", "bob"], &folder);
    assert!(status.success(), "{said}");
    let since = Instant::now();
    assert_eq!(bobs.is_closed().await, 4401);
    assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
    let (_, said) = run("chinwag", &["accounts", "list"], &folder);
    assert!(
        said.contains("disabled") && said.contains("administrator"),
        "{said}"
    );
    let (status, said) = run("chinwag", &["accounts", "disable", "ada"], &folder);
    assert!(
        !status.success() && said.contains("nobody would administer"),
        "{said}"
    );

    // With accounts there is no such link any more.
    chat.edges[0].kill();
    chat.edges[0].start_again();
    chat.edges[0].ready().await;
    let log = chat.edges[0].log();
    assert_eq!(log.matches("/#invite=").count(), 1, "{log}");
}
