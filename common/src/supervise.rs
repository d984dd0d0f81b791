//! Watches the tasks that are to live as long as their process. Each has a name. If one ends before it was told to, the
//! process stops in the orderly way, as it does when it is told to, and exits with an error that names the task and says
//! why. Without this a task that panics is gone in silence, and the process goes on without what it did.
//!
//! Whoever starts such a task need not be handed a supervisor: it is the one in whose [`Supervisor::run`] they are called,
//! and tasks that are watched pass it on to those that they start. So several processes' worth of services may run in one
//! test, and a fault in one of them is no other's. Where there is no supervisor, a fault is only logged.

use std::{
    any::Any,
    collections::BTreeMap,
    error::Error,
    fmt::Display,
    panic::AssertUnwindSafe,
    process::{ExitCode, Termination},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{
    FutureExt,
    future::{AbortHandle, Abortable},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{causes::WithCauses, startup::stop_on_signal, traces};

tokio::task_local! {
    static CURRENT: Option<Supervisor>;
}

/// Knows the lasting tasks of one process, and which of them failed it.
#[derive(Clone, Default)]
pub struct Supervisor {
    inner: Arc<SupervisorInner>,
}

#[derive(Default)]
struct SupervisorInner {
    stop: CancellationToken,
    fault: OnceLock<Fault>,
    tasks: Mutex<BTreeMap<u64, (&'static str, AbortHandle)>>,
    next: AtomicU64,
}

/// A lasting task ended before it was told to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task `{task}` ended before its time: {why}")]
pub struct Fault {
    /// The task's name.
    pub task: &'static str,
    /// The words of its panic or error, or how else it ended.
    pub why: String,
}

impl Supervisor {
    /// Cancelled by the first fault. Whatever else tells the process to stop cancels it too.
    pub fn stop(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// The names of the tasks that run just now, in the order in which they were started.
    pub fn tasks(&self) -> Vec<&'static str> {
        self.running().values().map(|(name, _)| *name).collect()
    }

    /// Ends the tasks of this name where they stand, as a fault would.
    pub fn abort(&self, name: &str) {
        for (_, abort) in self.running().values().filter(|(task, _)| *task == name) {
            abort.abort();
        }
    }

    /// Does the work, with all lasting tasks that it starts under watch. It is to come to its end once [`Self::stop`] is
    /// cancelled.
    ///
    /// # Errors
    /// A [`Fault`] if there was one, else the work's own.
    pub async fn run(
        &self,
        work: impl Future<Output = Result<(), Box<dyn Error>>>,
    ) -> Result<(), Box<dyn Error>> {
        let done = CURRENT.scope(Some(self.clone()), work).await;
        match self.inner.fault.get() {
            Some(fault) => Err(fault.clone().into()),
            None => done,
        }
    }

    /// The one in whose [`Supervisor::run`], or in whose task, this is called.
    pub fn current() -> Option<Supervisor> {
        CURRENT.try_with(Clone::clone).ok().flatten()
    }

    fn enter(&self, name: &'static str, abort: AbortHandle) -> Entry {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        self.running().insert(id, (name, abort));
        Entry {
            supervisor: self.clone(),
            id,
        }
    }

    fn failed(&self, fault: Fault) {
        let Fault { task, why } = fault.clone();
        match self.inner.fault.set(fault) {
            Ok(()) => tracing::warn!(task, why, "a task ended before its time: draining"),
            // While draining others may follow from the first, whose reason comes once more at the end of the log.
            Err(_) => tracing::warn!(task, why, "another task ended before its time"),
        }
        self.inner.stop.cancel();
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, (&'static str, AbortHandle)>> {
        self.inner.tasks.lock()
    }
}

/// A task that runs.
struct Entry {
    supervisor: Supervisor,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.supervisor.running().remove(&self.id);
    }
}

/// How a lasting task returns: in silence, or with an error.
pub trait Ending {
    /// The error's words.
    fn error(self) -> Option<String>;
}

impl Ending for () {
    fn error(self) -> Option<String> {
        None
    }
}

/// As of what is dropped when it is time.
impl Ending for Option<()> {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Display> Ending for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Watches what is to go on until `stop`: it may end after that, in its own time, but not before, and never by a panic or
/// with an error. Returns what became of it, for who wants to know; the supervisor does already.
pub fn watch<T: Ending, F: Future<Output = T> + Send>(
    name: &'static str,
    stop: &CancellationToken,
    task: F,
) -> impl Future<Output = Result<(), Fault>> + Send + use<T, F> {
    let stop = stop.clone();
    watched(name, move || stop.is_cancelled(), task)
}

/// The same in a task of its own.
pub fn spawn<T: Ending + 'static>(
    name: &'static str,
    stop: &CancellationToken,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<Result<(), Fault>> {
    tokio::spawn(watch(name, stop, task))
}

/// The same for what has no end of its own: it is dropped where it stands when `stop` is cancelled.
pub fn spawn_until(
    name: &'static str,
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<Result<(), Fault>> {
    spawn(name, stop, stop.clone().run_until_cancelled_owned(task))
}

/// Starts a task that is a part of something else, and knows by itself when it is not needed any more: it may return or be
/// dropped at any time, but not panic.
pub fn spawn_part(
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let task = watched(name, || true, task);
    tokio::spawn(async move { drop(task.await) })
}

fn watched<T: Ending, F: Future<Output = T> + Send>(
    name: &'static str,
    may_end: impl Fn() -> bool + Send,
    task: F,
) -> impl Future<Output = Result<(), Fault>> + Send {
    let supervisor = Supervisor::current();
    let (abort, registration) = AbortHandle::new_pair();
    let entry = supervisor
        .as_ref()
        .map(|supervisor| supervisor.enter(name, abort));
    // The scope is around the task itself, so that what it starts is watched as well.
    let task = CURRENT.scope(supervisor.clone(), AssertUnwindSafe(task).catch_unwind());
    let task = Abortable::new(task, registration);
    async move {
        let why = match task.await {
            Ok(Ok(returned)) => match returned.error() {
                None if may_end() => return Ok(()),
                None => "it returned".to_owned(),
                Some(error) => error,
            },
            Ok(Err(panic)) => format!("it panicked: {}", words(&*panic)),
            Err(_) => "it was aborted".to_owned(),
        };
        drop(entry);
        let fault = Fault { task: name, why };
        match supervisor {
            Some(supervisor) => supervisor.failed(fault.clone()),
            None => tracing::error!("{fault}"),
        }
        Err(fault)
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

/// Does a process's work until it has come to its end, which it does some time after the token that it is given is
/// cancelled: by SIGTERM, by SIGINT, or by the end of a lasting task.
pub async fn process(
    work: impl AsyncFnOnce(CancellationToken) -> Result<(), Box<dyn Error>>,
) -> Exit {
    let supervisor = Supervisor::default();
    let stop = supervisor.stop();
    let done = supervisor.run(async {
        stop_on_signal(&stop)?;
        // Boxed, since it is all of the process, and part of its `main`.
        Box::pin(work(stop.clone())).await
    });
    let done = done.await;
    traces::finish().await;
    Exit(done)
}

/// How a process ends. Returned from `main`, an error is the last line of the log, whatever the end of the runtime has to
/// say, and the exit code is not 0.
pub struct Exit(Result<(), Box<dyn Error>>);

impl From<Result<(), Box<dyn Error>>> for Exit {
    fn from(done: Result<(), Box<dyn Error>>) -> Exit {
        Exit(done)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        let Err(error) = self.0 else {
            return ExitCode::SUCCESS;
        };
        let text = WithCauses(&*error);
        if tracing::dispatcher::has_been_set() {
            tracing::error!("{text}");
        } else {
            // One of an operator's jobs, which keeps no log.
            eprintln!("Error: {text}");
        }
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::time::timeout;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// A process that starts one task and works until it is told to stop. How it ended.
    async fn process_with(
        supervisor: &Supervisor,
        start: impl FnOnce(&CancellationToken),
    ) -> Result<(), String> {
        let stop = supervisor.stop();
        let process = supervisor.run(async {
            start(&stop);
            stop.cancelled().await;
            Ok(())
        });
        let ended = timeout(Duration::from_secs(60), process).await;
        let ended = ended.unwrap_or_else(|_| Err("it runs for ever".into()));
        ended.map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_ends_before_its_time_ends_the_process_with_its_name_and_why() {
        let ends = async |task| {
            let start = |stop: &CancellationToken| drop(tokio::spawn(watch("it", stop, task)));
            process_with(&Supervisor::default(), start).await
        };
        let task: fn() -> Result<(), &'static str> = || Ok(());
        let said = |why| Err(format!("the task `it` ended before its time: {why}"));
        assert_eq!(
            ends(async move { task() }.boxed()).await,
            said("it returned")
        );
        let task = async { Err("no disk") }.boxed();
        assert_eq!(ends(task).await, said("no disk"));
        let task = async { panic!("a bug") }.boxed();
        assert_eq!(ends(task).await, said("it panicked: a bug"));
        assert_eq!(
            ends(pending().boxed()).await,
            Err("it runs for ever".into())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_aborted_by_its_name_ended_before_its_time() {
        let supervisor = Supervisor::default();
        let start = |stop: &CancellationToken| {
            spawn_until("one", stop, pending());
            spawn_part("other", pending());
            assert_eq!(supervisor.tasks(), ["one", "other"]);
            supervisor.abort("other");
        };
        let ended = process_with(&supervisor, start).await.unwrap_err();
        assert_eq!(
            ended,
            "the task `other` ended before its time: it was aborted"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_stop_a_task_may_end_and_a_part_at_any_time() {
        let supervisor = Supervisor::default();
        let start = |stop: &CancellationToken| {
            spawn_part("part", async {});
            drop(AbortOnDropHandle::new(spawn_part("owned", pending())));
            spawn_until("endless", stop, pending());
            let (told, stop) = (stop.clone(), stop.clone());
            spawn("lasting", &stop, async move { told.cancelled().await });
            stop.cancel();
        };
        assert_eq!(process_with(&supervisor, start).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_deep_inside_is_the_process_s_own_and_no_other_s() {
        let (broken, sound) = (Supervisor::default(), Supervisor::default());
        let nested = |stop: &CancellationToken| {
            spawn_until("outer", stop, async {
                spawn_part("inner", async { panic!("a bug") });
                pending::<()>().await;
            });
        };
        let ended = process_with(&broken, nested).await.unwrap_err();
        assert!(ended.contains("`inner`"), "{ended}");
        let whole = |stop: &CancellationToken| drop(spawn_until("outer", stop, pending()));
        assert_eq!(
            process_with(&sound, whole).await,
            Err("it runs for ever".into())
        );
    }
}
