//! The promises with TLS to all three engines, by certificates of an authority that only this team trusts: what is acked is
//! kept, who reads misses nothing, and each question has one answer, also where every connection breaks and is made anew.

use private_engines::Engine;
use stories::{Chat, PATIENCE, Process, Setup, until};

use crate::{assert_kept, sum, talk};

#[tokio::test(flavor = "multi_thread")]
async fn the_promises_hold_over_tls_with_a_private_authority_while_each_engine_goes_and_comes() {
    let chat = Chat::with(Setup {
        edges: 2,
        persisters: 2,
        tls: true,
        ..Setup::default()
    })
    .await;
    for name in ["REDIS_URL", "AMQP_URL", "DATABASE_URL"] {
        let url = chat.setting(name);
        let is_encrypted = ["rediss:", "amqps:"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        assert!(is_encrypted || url.contains("VERIFY_IDENTITY"), "{url}");
    }
    let [mut ada, mut reader] = chat.join("lobby", ["ada", "carol"]).await;
    let [mut bob, mut dora] = chat.join_at(1, "lobby", ["bob", "dora"]).await;
    let edges = [chat.url(0), chat.url(1)];
    let others = [chat.url(1), chat.url(0)];
    let kills = async {
        for engine in [Engine::RabbitMq, Engine::MariaDb] {
            chat.engines().kill(engine).await;
            chat.engines().start_engine(engine).await;
        }
        // Told to end, since one that is killed may lose its last second, and with it the place of what is on its way: that is
        // another story.
        chat.engines().stop(Engine::Redis).await;
        chat.engines().start_engine(Engine::Redis).await;
    };
    let asking = async {
        let mut asked = Vec::new();
        for n in 0..10 {
            let question = format!("@bot {}", sum(n));
            asked.push(dora.says_until_acked(&question, &others).await);
        }
        asked
    };
    let ((), mut acked, from_bob, questions) = tokio::join!(
        kills,
        talk(&mut ada, 100, &edges),
        talk(&mut bob, 100, &others),
        asking,
    );
    acked.extend(from_bob);
    acked.extend(&questions);
    let heard = reader.messages();
    assert!(!heard.is_empty(), "somebody only read");
    // Each once and in order. A link may be missing where Redis lost what it showed last.
    chat_client::assert_in_order(&heard);
    assert!(reader.comes_back().await);
    assert_kept(&chat, &reader, &acked).await;
    until("each question has one answer", PATIENCE, async || {
        let history = reader.history().await;
        let replies = |id: &uuid::Uuid| {
            let replies = history.iter().filter(|it| it["reply_to"] == id.to_string());
            let replies = replies.count();
            assert!(replies <= 1, "{id} has {replies} replies");
            replies
        };
        questions
            .iter()
            .all(|(id, _)| replies(id) == 1)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_whose_certificate_nobody_here_vouches_for_are_not_spoken_to_and_each_is_named() {
    let chat = Chat::with(Setup {
        edges: 0,
        workers: 0,
        persisters: 0,
        tls: true,
        ..Setup::default()
    })
    .await;
    let ca = chat.setting("SSL_CERT_FILE").to_owned();
    let another = ca.replace("ca.pem", "another-ca.pem");
    let database = chat.setting("DATABASE_URL").replace(&ca, &another);
    let settings = [("SSL_CERT_FILE", another), ("DATABASE_URL", database)];
    let edge: Process = chat.service("ws-edge", "mistrustful-edge", &settings);
    until(
        "it names all three and what is wrong",
        PATIENCE,
        async || {
            let log = edge.log();
            let complains = |engine: &str| {
                let about = |line: &&str| line.contains(engine);
                let is_told = |line: &str| line.to_lowercase().contains("certificate");
                log.lines().filter(about).any(is_told)
            };
            ["(REDIS_URL)", "(AMQP_URL)", "(DATABASE_URL)"]
                .iter()
                .all(|engine| complains(engine))
                .then_some(())
        },
    )
    .await;
    assert_eq!(edge.readiness().await, Some(503));
}
