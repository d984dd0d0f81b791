//! Commands of many callers in one write. What is asked for while as many writes as a small window wait for their answers
//! gathers, and leaves together: for the client, the kernel and Redis a write costs the same for one command as for
//! twenty. With little to do each leaves at once and alone.

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::sync::{mpsc, oneshot};

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
    asked: mpsc::Sender<Asked>,
}

impl Gather {
    /// Starts gathering for a connection.
    pub(super) fn start(connection: MultiplexedConnection) -> Gather {
        let (asked, requests) = mpsc::channel(WAITING_MAX);
        tokio::spawn(pass_on(connection, requests));
        Gather { asked }
    }

    /// Sends commands next to each other and returns the answer to each, of which some may be errors.
    ///
    /// # Errors
    /// The connection is lost; they may have been done all the same.
    pub(super) async fn send(&self, commands: Vec<Cmd>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let asked = Asked { commands, answer };
        self.asked.send(asked).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn pass_on(connection: MultiplexedConnection, mut requests: mpsc::Receiver<Asked>) {
    let mut under_way = FuturesUnordered::new();
    let mut together = Vec::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next() => {}
            count = requests.recv_many(&mut together, REQUESTS_MAX), if under_way.len() < WRITES_IN_FLIGHT_MAX => {
                if count == 0 {
                    return;
                }
                under_way.push(write(connection.clone(), std::mem::take(&mut together)));
            }
        }
    }
}

/// Writes requests together, and answers each.
async fn write(mut connection: MultiplexedConnection, mut requests: Vec<Asked>) {
    // Nobody waits for them any more.
    requests.retain(|asked| !asked.answer.is_closed());
    let mut pipeline = Pipeline::new();
    let mut waiting = Vec::with_capacity(requests.len());
    for Asked { commands, answer } in requests {
        waiting.push((commands.len(), answer));
        for command in commands {
            pipeline.add_command(command);
        }
    }
    if waiting.is_empty() {
        return;
    }
    let count = pipeline.len();
    match connection.send_packed_commands(&pipeline, 0, count).await {
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
