//! All that lasts, as one archive: what an engine gives of it row by row, and takes. The file that it becomes is the programs'
//! (`persister/src/archive/`); which tables there are, and why others are left out, stands with the engines
//! (`engines/src/sql/archived.rs`).

use std::io;

use async_trait::async_trait;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::StoreError;

/// A row of a table by its columns' names. Ids are written as people write them, hashes in hexadecimal digits.
pub type Columns = Map<String, Value>;

/// Whoever takes the rows of an export.
pub type Taker<'a> = dyn FnMut(&str, Columns) -> io::Result<()> + 'a;

/// Why an archive could not be made or taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be written or read.
    #[error("the archive's file: {0}")]
    File(#[from] io::Error),
    /// The archive is not as it should be, or does not fit here. What it is, in words for people.
    #[error("{0}")]
    Unfit(String),
}

/// How far an archive has been imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportState {
    /// So many of its rows are in.
    pub rows_done: u64,
    /// Whether that is all.
    pub is_finished: bool,
}

/// A piece of an archive, to be imported.
#[derive(Clone, Copy, Debug)]
pub struct ImportPiece<'a> {
    /// Which archive.
    pub id: Uuid,
    /// How many of its rows were in before.
    pub rows_before: u64,
    /// Of which table these are.
    pub table: &'a str,
    /// They.
    pub rows: &'a [Columns],
}

/// Gives and takes all that lasts. For an operator's job alone, which may block its thread on a file in between.
#[async_trait(?Send)]
pub trait Archives {
    /// The version of the schema: an archive of a later one is not taken.
    fn schema(&self) -> i64;

    /// Gives every row that is to last, table by table and each by its key, all as they were at one moment, however long it
    /// takes and whatever is written meanwhile. Never more than a few of them are in memory.
    ///
    /// # Errors
    /// [`ArchiveError`] of the store, or of whoever takes them.
    async fn give(&self, with_sessions: bool, take: &mut Taker<'_>) -> Result<(), ArchiveError>;

    /// Which of these rows bear names that somebody or something here has, or looks like: each with its name.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    async fn taken_names(&self, table: &str, rows: &[Columns])
    -> Result<Vec<String>, ArchiveError>;

    /// How far this archive has been imported; none if that was not begun.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    async fn import_state(&self, id: Uuid) -> Result<Option<ImportState>, ArchiveError>;

    /// Takes rows of one table, and notes how far the import has come, both or neither. What is there already is left as it is.
    ///
    /// # Errors
    /// [`ArchiveError::Unfit`] if a row is none of that table, or if somebody else imports the same archive at this moment.
    async fn take(&self, piece: ImportPiece<'_>) -> Result<(), ArchiveError>;

    /// Notes that all of the archive is in.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    async fn finish_import(&self, id: Uuid) -> Result<(), ArchiveError>;
}
