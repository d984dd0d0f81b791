//! Each engine can be killed, stopped, frozen and started again, and each call returns when that is so.

mod sets;

use private_engines::{Engine, Engines};
use sets::{SILENCE, mariadb_answers, rabbitmq_answers, redis, redis_answers};

#[tokio::test]
async fn redis_comes_back_with_its_data_unless_it_was_wiped() {
    let engines = Engines::start_only(&[Engine::Redis]).await;
    let url = engines.redis_url();
    assert_eq!(redis(url, "SET room lobby").await, "+OK");

    engines.kill(Engine::Redis).await;
    assert!(!redis_answers(url, SILENCE).await);
    engines.start_engine(Engine::Redis).await;
    assert_eq!(redis(url, "GET room").await, "$5\r\nlobby");

    engines.stop(Engine::Redis).await;
    assert!(!redis_answers(url, SILENCE).await);
    engines.start_engine(Engine::Redis).await;
    assert_eq!(redis(url, "GET room").await, "$5\r\nlobby");

    engines.freeze(Engine::Redis).await;
    assert!(!redis_answers(url, SILENCE).await);
    engines.thaw(Engine::Redis).await;
    assert_eq!(redis(url, "GET room").await, "$5\r\nlobby");

    engines.wipe(Engine::Redis).await;
    assert!(!redis_answers(url, SILENCE).await);
    engines.start_engine(Engine::Redis).await;
    assert_eq!(redis(url, "GET room").await, "$-1");
}

#[tokio::test]
async fn rabbitmq_and_mariadb_come_back() {
    let engines = Engines::start_only(&[Engine::RabbitMq, Engine::MariaDb]).await;
    let queue = engines.fresh_vhost().await;
    let store = engines.fresh_database().await;
    assert_ne!(queue, engines.fresh_vhost().await);
    assert_ne!(store, engines.fresh_database().await);

    for engine in [Engine::RabbitMq, Engine::MariaDb] {
        let answers = async |patience| match engine {
            Engine::RabbitMq => rabbitmq_answers(&queue, patience).await,
            _ => mariadb_answers(&store, patience).await,
        };
        let long = SILENCE * 30;
        assert!(answers(long).await);
        engines.kill(engine).await;
        assert!(!answers(SILENCE).await);
        engines.start_engine(engine).await;
        assert!(answers(long).await);
        engines.freeze(engine).await;
        assert!(!answers(SILENCE).await);
        engines.thaw(engine).await;
        assert!(answers(long).await);
        engines.stop(engine).await;
        assert!(!answers(SILENCE).await);
        engines.start_engine(engine).await;
        assert!(answers(long).await);
        // Frozen engines can be killed, too.
        engines.freeze(engine).await;
        engines.kill(engine).await;
        engines.start_engine(engine).await;
        assert!(answers(long).await);
    }
    // The broker and the server still make new ones.
    engines.fresh_vhost().await;
    engines.fresh_database().await;
}

#[tokio::test]
async fn a_cluster_and_sentinels_start_on_demand() {
    let engines = Engines::start_only(&[]).await;

    let nodes = engines.start_cluster().await;
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        assert!(
            redis(node, "CLUSTER INFO")
                .await
                .contains("cluster_state:ok")
        );
    }
    engines.kill(Engine::Cluster(2)).await;
    assert!(!redis_answers(&nodes[1], SILENCE).await);
    assert_eq!(engines.start_cluster().await, nodes);
    let replicas = engines.start_replicas().await;
    assert_eq!(replicas.len(), 3);
    assert_eq!(engines.start_replicas().await, replicas);
    assert!(
        redis(&nodes[1], "CLUSTER INFO")
            .await
            .contains("cluster_state:ok")
    );

    let sentinels = engines.start_sentinel().await;
    assert_eq!(sentinels.sentinels.len(), 3);
    let port = |url: &str| url.rsplit(':').next().map(str::to_owned).unwrap();
    let master = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {}", sentinels.master_name);
    assert!(
        redis(&sentinels.sentinels[0], &master)
            .await
            .contains(&port(&sentinels.first_master))
    );
    engines.kill(Engine::SentinelMaster).await;
    let failed_over = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while !redis(&sentinels.sentinels[0], &master)
            .await
            .contains(&port(&sentinels.first_replica))
        {
            tokio::time::sleep(SILENCE).await;
        }
    });
    failed_over
        .await
        .expect("the sentinels make the replica the master");
}

#[tokio::test]
#[should_panic(expected = "redis is not running")]
async fn a_command_that_fails_says_why() {
    let engines = Engines::start_only(&[Engine::Redis]).await;
    engines.kill(Engine::Redis).await;
    engines.kill(Engine::Redis).await;
}
