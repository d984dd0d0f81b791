//! The plainest possible programs: what remains when everything is left out that makes a chat server of it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{
        Path, State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    routing::get,
};
use futures_util::{SinkExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
        QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use redis::{Script, aio::MultiplexedConnection};
use sqlx::{Connection as _, MySqlConnection};
use tokio::sync::broadcast::{self, error::RecvError};

/// The most messages written with one flush.
const WRITE_FRAMES: usize = 64;

type Rooms = Arc<Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>>;

/// Fan-out from memory with the WebSocket library of the edge: no engine, no JSON, no session, nothing kept.
pub(crate) async fn fan_out(address: SocketAddr) {
    let router = Router::new()
        .route(
            "/ws/chat/{room}",
            get(
                async |Path(room): Path<String>,
                       State(rooms): State<Rooms>,
                       upgrade: WebSocketUpgrade| {
                    let room = {
                        let mut rooms = rooms.lock().expect("not poisoned");
                        rooms
                            .entry(room)
                            .or_insert_with(|| broadcast::channel(16_384).0)
                            .clone()
                    };
                    let upgrade = upgrade.read_buffer_size(4096).write_buffer_size(128 * 1024);
                    upgrade.on_upgrade(|socket| serve(socket, room))
                },
            ),
        )
        .with_state(Rooms::default());
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("a free address");
    axum::serve(listener, router)
        .await
        .expect("it serves for ever");
}

async fn serve(mut socket: WebSocket, room: broadcast::Sender<Utf8Bytes>) {
    let mut news = room.subscribe();
    let joined = Message::text(r#"{"type":"joined"}"#);
    let ack = Utf8Bytes::from_static(r#"{"type":"ack"}"#);
    if socket.send(joined).await.is_err() {
        return;
    }
    loop {
        let written = tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    drop(room.send(text));
                    socket.send(Message::Text(ack.clone())).await
                }
                Some(Ok(_)) => Ok(()),
                _ => return,
            },
            first = news.recv() => {
                let mut next = match first {
                    Ok(first) => Some(first),
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return,
                };
                let mut fed = Ok(());
                for _ in 0..WRITE_FRAMES {
                    let Some(frame) = next.take() else { break };
                    fed = socket.feed(Message::Text(frame)).await;
                    next = news.try_recv().ok();
                }
                // The one that was taken beyond the batch still belongs to it.
                if let Some(frame) = next {
                    fed = socket.feed(Message::Text(frame)).await;
                }
                fed.and(socket.flush().await)
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// What the floor's queues and the exchange before them are called.
const FLOOR: &str = "floor";

/// A channel that confirms, and so many empty queues like the one of messages, which nobody consumes.
pub(crate) async fn confirming(amqp_url: &str, queues: usize) -> (Connection, Channel) {
    let connection = Connection::connect(amqp_url, ConnectionProperties::default())
        .await
        .expect("RabbitMQ answers");
    let channel = connection.create_channel().await.expect("a channel");
    let options = ExchangeDeleteOptions::default();
    let deleted = channel.exchange_delete(FLOOR.into(), options);
    deleted.await.expect("it may not be there");
    let options = ExchangeDeclareOptions::default();
    let declared = channel.exchange_declare(
        FLOOR.into(),
        ExchangeKind::Direct,
        options,
        FieldTable::default(),
    );
    declared.await.expect("an exchange");
    for number in 0..queues {
        let queue = format!("{FLOOR}-{number}");
        let deleted = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
        deleted.await.expect("it may not be there");
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let declared = channel.queue_declare(queue.as_str().into(), options, arguments);
        declared.await.expect("a queue");
        let bound = channel.queue_bind(
            queue.as_str().into(),
            FLOOR.into(),
            FLOOR.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.expect("a binding");
    }
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    (connection, channel)
}

/// Publishes once to those queues, and waits for the confirm.
pub(crate) async fn confirm(channel: &Channel, payload: &[u8]) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let sent = channel
        .basic_publish(FLOOR.into(), FLOOR.into(), options, payload, properties)
        .await;
    let confirmation = sent.expect("it was sent").await.expect("it was confirmed");
    assert!(
        matches!(confirmation, Confirmation::Ack(None)),
        "refused or returned: {confirmation:?}"
    );
}

/// Bare confirms a second into so many queues, so many in flight.
pub(crate) async fn confirms(
    amqp_url: &str,
    queues: usize,
    in_flight: usize,
    payload: &[u8],
    time: Duration,
) -> f64 {
    let (_connection, channel) = confirming(amqp_url, queues).await;
    let mut flying: FuturesUnordered<_> =
        (0..in_flight).map(|_| confirm(&channel, payload)).collect();
    let (began, mut confirmed) = (Instant::now(), 0.0);
    while began.elapsed() < time {
        flying.next().await;
        confirmed += 1.0;
        flying.push(confirm(&channel, payload));
    }
    let rate = confirmed / began.elapsed().as_secs_f64();
    // What is in flight is waited for: the next figure finds the broker at rest.
    while flying.next().await.is_some() {}
    rate
}

/// One script call, as a message needs at the least: count, append, publish.
pub(crate) async fn script(
    redis: &mut MultiplexedConnection,
    script: &Script,
    room: &str,
    payload: &str,
) {
    let called: Result<i64, _> = script
        .key(format!("{{{room}}}:n"))
        .key(format!("{{{room}}}:s"))
        .arg(payload)
        .arg(room)
        .invoke_async(redis)
        .await;
    called.expect("Redis answers");
}

/// Script calls a second on 50 rooms, so many in flight.
pub(crate) async fn scripts(
    redis_url: &str,
    in_flight: usize,
    payload: &str,
    time: Duration,
) -> f64 {
    let client = redis::Client::open(redis_url).expect("a URL");
    let redis = client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis answers");
    let plainest = plainest_script();
    let call = |number: usize| {
        let (mut redis, plainest) = (redis.clone(), &plainest);
        async move {
            let room = format!("floor-{}", number % 50);
            script(&mut redis, plainest, &room, payload).await;
        }
    };
    let mut flying: FuturesUnordered<_> = (0..in_flight).map(call).collect();
    let (began, mut called) = (Instant::now(), 0);
    while began.elapsed() < time {
        flying.next().await;
        called += 1;
        flying.push(call(called));
    }
    called as f64 / began.elapsed().as_secs_f64()
}

/// The plainest script.
pub(crate) fn plainest_script() -> Script {
    Script::new(
        "local n = redis.call('INCR', KEYS[1])
         redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'm', ARGV[1])
         redis.call('PUBLISH', ARGV[2], ARGV[1])
         return n",
    )
}

/// Rows a second by plain multi-row inserts of this many rows, into a table like the one of messages.
pub(crate) async fn inserts(
    database_url: &str,
    rows: usize,
    rows_at_once: usize,
    text: &str,
) -> f64 {
    let mut db = MySqlConnection::connect(database_url)
        .await
        .expect("the database answers");
    for statement in [
        "DROP TABLE IF EXISTS floor_messages",
        "CREATE TABLE floor_messages LIKE messages",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut db)
            .await
            .expect("a table");
    }
    let values = vec!["(?, ?, ?, ?, ?, ?, ?)"; rows_at_once].join(", ");
    let statement = format!(
        "INSERT INTO floor_messages (room, seq, id, sender, kind, message, reply_to) VALUES {values}"
    );
    let began = Instant::now();
    for batch in 0..rows / rows_at_once {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement.clone()));
        for row in 0..rows_at_once {
            let seq = i64::try_from(batch * rows_at_once + row).expect("small");
            query = query.bind("floor").bind(seq).bind(uuid::Uuid::now_v7());
            query = query
                .bind("ada")
                .bind("user")
                .bind(text)
                .bind(None::<uuid::Uuid>);
        }
        query.execute(&mut db).await.expect("rows");
    }
    rows as f64 / began.elapsed().as_secs_f64()
}
