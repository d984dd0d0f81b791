//! Commands of many callers in one write. Each leaves at once and alone, as long as few writes wait for their answers.
//! What is asked for beyond that is batched, and leaves together: for the client, the kernel and Redis a write costs the
//! same for one command as for twenty.

use std::sync::Arc;

use common::supervise;
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::request::COMMAND_LIMIT;

/// The most writes that wait for their replies before what is asked for is batched.
const WRITES_IN_FLIGHT_MAX: usize = 4;

/// The most requests of one write.
const REQUESTS_MAX: usize = 64;

/// The most requests that wait to leave; who comes then waits to be let in.
const WAITING_MAX: usize = 1_024;

type Replies = Result<Vec<Value>, RedisError>;

struct WriteRequest {
    commands: Vec<Cmd>,
    reply: oneshot::Sender<Replies>,
}

/// The way to one connection. It ends with the last clone.
#[derive(Clone)]
pub(super) struct WriteBatcher {
    connection: MultiplexedConnection,
    writes: Arc<Semaphore>,
    asked: mpsc::Sender<WriteRequest>,
}

impl WriteBatcher {
    /// Starts batching for a connection.
    pub(super) fn start(connection: MultiplexedConnection) -> WriteBatcher {
        let (asked, requests) = mpsc::channel(WAITING_MAX);
        let writes = Arc::new(Semaphore::new(WRITES_IN_FLIGHT_MAX));
        let passing_on = pass_on(connection.clone(), Arc::clone(&writes), requests);
        supervise::spawn_part("Redis writes", passing_on);
        WriteBatcher {
            connection,
            writes,
            asked,
        }
    }

    /// Sends commands next to each other and returns the reply to each, of which some may be errors.
    ///
    /// # Errors
    /// The connection is lost; they may have been done all the same.
    pub(super) async fn send(&self, commands: Vec<Cmd>) -> Replies {
        if let Ok(_write) = self.writes.try_acquire() {
            return write(self.connection.clone(), commands).await;
        }
        let (reply, replied) = oneshot::channel();
        let gone = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let asked = WriteRequest { commands, reply };
        self.asked.send(asked).await.map_err(|_| gone())?;
        replied.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn write(mut connection: MultiplexedConnection, commands: Vec<Cmd>) -> Replies {
    if let [command] = commands.as_slice() {
        return Ok(vec![connection.send_packed_command(command).await?]);
    }
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    let count = pipeline.len();
    connection.send_packed_commands(&pipeline, 0, count).await
}

async fn pass_on(
    connection: MultiplexedConnection,
    writes: Arc<Semaphore>,
    mut requests: mpsc::Receiver<WriteRequest>,
) {
    while let Some(first) = requests.recv().await {
        let permit = Arc::clone(&writes).acquire_owned().await;
        let permit = permit.expect("never closed");
        let mut together = vec![first];
        while together.len() < REQUESTS_MAX
            && let Ok(next) = requests.try_recv()
        {
            together.push(next);
        }
        // Nobody waits for them any more.
        together.retain(|asked| !asked.reply.is_closed());
        if together.is_empty() {
            continue;
        }
        let connection = connection.clone();
        tokio::spawn(async move {
            // After that nobody waits for any of them.
            let _ = timeout(COMMAND_LIMIT, write_together(connection, together)).await;
            drop(permit);
        });
    }
}

/// Writes requests together, and answers each.
async fn write_together(connection: MultiplexedConnection, requests: Vec<WriteRequest>) {
    let mut commands = Vec::with_capacity(requests.len());
    let mut waiting = Vec::with_capacity(requests.len());
    for asked in requests {
        waiting.push((asked.commands.len(), asked.reply));
        commands.extend(asked.commands);
    }
    match write(connection, commands).await {
        Ok(values) => {
            let mut values = values.into_iter();
            for (count, reply) in waiting {
                // It may be that nobody waits for it any more.
                drop(reply.send(Ok(values.by_ref().take(count).collect())));
            }
        }
        Err(error) => {
            for (_, reply) in waiting {
                drop(reply.send(Err(error.clone())));
            }
        }
    }
}
