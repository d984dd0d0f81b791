//! Commands of many callers in one write. Each leaves at once and alone, as long as few writes wait for their answers.
//! What is asked for beyond that gathers, and leaves together: for the client, the kernel and Redis a write costs the
//! same for one command as for twenty.

use std::sync::Arc;

use common::supervise;
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::request::COMMAND_LIMIT;

/// The most writes that wait for their answers before what is asked for gathers.
const WRITES_IN_FLIGHT_MAX: usize = 4;

/// The most requests of one write.
const REQUESTS_MAX: usize = 64;

/// The most requests that wait to leave; who comes then waits for a place.
const WAITING_MAX: usize = 1_024;

type Answer = Result<Vec<Value>, RedisError>;

struct Asked {
    commands: Vec<Cmd>,
    answer: oneshot::Sender<Answer>,
}

/// The way to one connection. It ends with the last clone.
#[derive(Clone)]
pub(super) struct Gather {
    connection: MultiplexedConnection,
    writes: Arc<Semaphore>,
    asked: mpsc::Sender<Asked>,
}

impl Gather {
    /// Starts gathering for a connection.
    pub(super) fn start(connection: MultiplexedConnection) -> Gather {
        let (asked, requests) = mpsc::channel(WAITING_MAX);
        let writes = Arc::new(Semaphore::new(WRITES_IN_FLIGHT_MAX));
        let passing_on = pass_on(connection.clone(), Arc::clone(&writes), requests);
        supervise::spawn_part("Redis writes", passing_on);
        Gather {
            connection,
            writes,
            asked,
        }
    }

    /// Sends commands next to each other and returns the answer to each, of which some may be errors.
    ///
    /// # Errors
    /// The connection is lost; they may have been done all the same.
    pub(super) async fn send(&self, commands: Vec<Cmd>) -> Answer {
        if let Ok(_write) = self.writes.try_acquire() {
            return write(self.connection.clone(), commands).await;
        }
        let (answer, answered) = oneshot::channel();
        let gone = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let asked = Asked { commands, answer };
        self.asked.send(asked).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn write(mut connection: MultiplexedConnection, commands: Vec<Cmd>) -> Answer {
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
    mut requests: mpsc::Receiver<Asked>,
) {
    while let Some(first) = requests.recv().await {
        let place = Arc::clone(&writes).acquire_owned().await;
        let place = place.expect("never closed");
        let mut together = vec![first];
        while together.len() < REQUESTS_MAX
            && let Ok(next) = requests.try_recv()
        {
            together.push(next);
        }
        // Nobody waits for them any more.
        together.retain(|asked| !asked.answer.is_closed());
        if together.is_empty() {
            continue;
        }
        let connection = connection.clone();
        tokio::spawn(async move {
            // After that nobody waits for any of them.
            let _ = timeout(COMMAND_LIMIT, write_together(connection, together)).await;
            drop(place);
        });
    }
}

/// Writes requests together, and answers each.
async fn write_together(connection: MultiplexedConnection, requests: Vec<Asked>) {
    let mut commands = Vec::with_capacity(requests.len());
    let mut waiting = Vec::with_capacity(requests.len());
    for asked in requests {
        waiting.push((asked.commands.len(), asked.answer));
        commands.extend(asked.commands);
    }
    match write(connection, commands).await {
        Ok(values) => {
            let mut values = values.into_iter();
            for (count, answer) in waiting {
                // Nobody may be left to hear it.
                drop(answer.send(Ok(values.by_ref().take(count).collect())));
            }
        }
        Err(error) => {
            for (_, answer) in waiting {
                drop(answer.send(Err(error.clone())));
            }
        }
    }
}
