//! `persister repair`: everything that the rooms' streams still have is compared with the database, and what is missing is
//! handed to `persist` again. The edges do so by themselves, at their pace, when the database is on another server; this is
//! for an operator who knows of missing rows for another reason (a backup was restored), or does not want to wait.

use std::{collections::HashSet, io::Write, sync::Arc, time::Duration};

use common::{
    live::{Live, LiveError},
    posting::Poster,
    queue::Queue,
    store::Store,
    timeline::{Comparison, Timeline, TimelineError},
};
use tokio::time::sleep;

/// How many rooms are listed at a time.
const ROOMS_AT_ONCE: usize = 1_000;

/// How often it is seen whether the persisters have caught up.
const WAIT: Duration = Duration::from_secs(2);

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The rooms could not be listed.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// A room could not be compared.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The output.
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

/// Does it, and says what was done. Waits for persisters that are behind: until they have caught up, nobody knows what is
/// missing and what is on its way.
///
/// # Errors
/// [`RepairError`], with what was handed over until then on its way; it may be begun again at any time.
pub async fn run(
    live: Arc<dyn Live>,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    out: &mut (dyn Write + Send),
) -> Result<(), RepairError> {
    live.compare_anew().await?;
    let poster = Poster::new(Arc::clone(&live), queue, Arc::clone(&store));
    let timeline = Timeline::new(live, store, poster);
    let mut seen = HashSet::new();
    let (mut unsettled, mut handed_over, mut on_their_way) = (0, 0, 0);
    loop {
        // What was looked at and could not be settled yet stands at the head of the list, of which it is half at most.
        let (server, rooms) = timeline.unsettled(2 * unsettled + ROOMS_AT_ONCE).await?;
        let rooms = rooms.into_iter().filter(|room| !seen.contains(&room.room));
        let rooms: Vec<_> = rooms.collect();
        if rooms.is_empty() {
            break;
        }
        for room in rooms {
            let compared = loop {
                let compared = match timeline.repair(&room, &server).await {
                    Ok(compared) => compared,
                    // The list is read anew.
                    Err(TimelineError::OtherServer) => break None,
                    Err(error) => return Err(error.into()),
                };
                handed_over += compared.handed_over;
                if !compared.waits {
                    break Some(compared);
                }
                writeln!(out, "{}: the persisters are behind; waiting", room.room)?;
                sleep(WAIT).await;
            };
            let Some(Comparison {
                is_whole,
                missing,
                handed_over,
                ..
            }) = compared
            else {
                break;
            };
            unsettled += usize::from(!is_whole);
            on_their_way += missing - handed_over;
            seen.insert(room.room);
        }
    }
    writeln!(out, "compared: {} rooms", seen.len())?;
    writeln!(out, "handed to `persist` again: {handed_over} messages")?;
    if on_their_way > 0 {
        writeln!(out, "on their way already: {on_their_way} messages")?;
    }
    Ok(())
}
