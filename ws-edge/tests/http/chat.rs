//! What the stories are told with: edges on engines that work, and people who call them.

use std::sync::Arc;

use chat_client::Client;
use engines::embedded::{EmbeddedLive, EmbeddedQueue, SqliteStore};
use seam_fakes::FaultyStore;

use crate::edges::Edges;

/// A Chinwag for one story.
pub(crate) type Chat = Edges;

impl Edges {
    pub(crate) async fn start() -> Chat {
        Chat::start_with(&[]).await
    }

    /// Edges with these flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Chat {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let queue = EmbeddedQueue::open(folder.path(), 0).await.unwrap();
        Edges::start_on(folder, (EmbeddedLive::new(), queue, store), flags).await
    }

    /// Edges with a database behind a network.
    pub(crate) async fn start_faulty() -> (Chat, Arc<FaultyStore>) {
        let folder = tempfile::tempdir().unwrap();
        let store = FaultyStore::over(SqliteStore::open(folder.path()).await.unwrap());
        let queue = EmbeddedQueue::open(folder.path(), 0).await.unwrap();
        let engines = (EmbeddedLive::new() as _, queue as _, store.clone() as _);
        let chat = Edges::start_on(folder, engines, &[]).await;
        (chat, store)
    }

    /// Somebody who registered just now.
    pub(crate) async fn registers(&self, name: &str) -> Client {
        Client::register(&self.urls[0], name).await
    }

    /// The same person on one more device.
    pub(crate) async fn logs_in(&self, name: &str) -> Client {
        Client::log_in(&self.urls[0], name).await
    }

    /// The same caller at the other edge.
    pub(crate) fn elsewhere(&self, client: &Client) -> Client {
        client.at(&self.urls[1])
    }
}
