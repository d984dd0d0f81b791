//! `persister export`, `persister import` (and `chinwag` …): all that lasts as one file, and back again. So a team that began with the
//! all-in-one moves to the services, and it is a backup that no engine's version matters to. The form of the file is described in
//! `docs/decisions/archives.md`: lines of JSON, a head that says what it is, and an end that says whether it is all there.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Args;
use common::store::archive::{ArchiveError, Archives, Columns, ImportPiece};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The version of the form. A later one is not read.
const VERSION: u32 = 1;

/// The most rows that are imported in one step.
const ROWS_AT_ONCE: usize = 500;

/// About how many bytes of them, so that a step is short whatever people say.
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// The longest line that is read: a message, of which each character may take six in JSON, and what stands beside it.
const LINE_MAX_BYTES: usize = 1024 * 1024;

/// The most names in a refusal.
const NAMES_TOLD: usize = 20;

/// What is exported, and where to.
#[derive(Args, Clone, Debug)]
pub struct ExportArguments {
    /// The file to be written, beside which it grows until it is whole; one that is there is replaced then.
    pub path: PathBuf,
    /// Who is logged in stays so where it is imported: sessions and known devices go along.
    #[arg(long)]
    pub sessions: bool,
}

/// What is imported.
#[derive(Args, Clone, Debug)]
pub struct ImportArguments {
    /// A file that `export` has written.
    pub path: PathBuf,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    archive: String,
    version: u32,
    schema: i64,
    id: Uuid,
    made_at: String,
    made_by: String,
    sessions: bool,
}

/// The last one.
#[derive(Serialize, Deserialize)]
struct End {
    rows: u64,
    sha256: String,
}

#[derive(Deserialize)]
struct EndLine {
    end: End,
}

fn unfit<T>(why: String) -> Result<T, ArchiveError> {
    Err(ArchiveError::Unfit(why))
}

/// A file that grows under another name and has its own when it is whole; if it never is, it goes. It is locked meanwhile, so
/// that of two who export to one path at once the second is told so.
struct Growing {
    path: PathBuf,
    beside: PathBuf,
    out: BufWriter<File>,
    digest: Sha256,
    rows: u64,
}

impl Growing {
    /// Only its owner may read it: it has what everybody said, and what is kept of their passwords.
    fn begin(path: &Path) -> io::Result<Growing> {
        let name = path.file_name().ok_or_else(|| {
            let why = format!("{} is no name of a file", path.display());
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        let mut part = name.to_owned();
        part.push(".part");
        let beside = path.with_file_name(part);
        let mut options = OpenOptions::new();
        // What lies there was left over, or somebody has put it there: a link would lead to another file, and whoever has
        // it open already could read along.
        if is_growing(&beside) {
            return Err(in_the_way(&beside));
        }
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = options.write(true).create_new(true).mode(0o600);
        let file = file.open(&beside).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => in_the_way(&beside),
            _ => error,
        })?;
        file.try_lock().map_err(|_| in_the_way(&beside))?;
        Ok(Growing {
            path: path.to_owned(),
            beside,
            out: BufWriter::new(file),
            digest: Sha256::new(),
            rows: 0,
        })
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.digest.update(&bytes);
        self.out.write_all(&bytes)
    }

    /// Writes the end, and gives it its name when it is on the disk.
    fn finish(mut self) -> io::Result<u64> {
        let sha256 = hexadecimal(&self.digest.clone().finalize());
        let rows = self.rows;
        let end = serde_json::json!({"end": End { rows, sha256 }});
        self.line(&end)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        // Whoever came in the moment before it was locked has taken it for what was left over.
        let (own, there) = (
            self.out.get_ref().metadata()?,
            fs::symlink_metadata(&self.beside)?,
        );
        if (own.dev(), own.ino()) != (there.dev(), there.ino()) {
            return Err(in_the_way(&self.beside));
        }
        fs::rename(&self.beside, &self.path)?;
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(rows)
    }
}

/// Whether another export writes to a file now. Whatever else lies there is not looked into: of a link only that it is one.
fn is_growing(beside: &Path) -> bool {
    let is_file = fs::symlink_metadata(beside).is_ok_and(|there| there.is_file());
    let open = || File::open(beside).ok();
    is_file && open().is_some_and(|there| matches!(there.try_lock(), Err(TryLockError::WouldBlock)))
}

fn in_the_way(beside: &Path) -> io::Error {
    let beside = beside.display();
    let why = format!("another export is being written to {beside} at this moment");
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes all that the store has into a file. What was acked before must be in the store by now: see the callers.
///
/// # Errors
/// [`ArchiveError`]; the file is not there then, or as it was.
pub async fn export(
    store: &dyn Archives,
    arguments: &ExportArguments,
    out: &mut dyn Write,
) -> Result<(), ArchiveError> {
    let mut file = Growing::begin(&arguments.path)?;
    let beside = file.beside.clone();
    let written = async {
        file.line(&Head {
            archive: "chinwag".into(),
            version: VERSION,
            schema: store.schema(),
            id: Uuid::now_v7(),
            made_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            made_by: concat!("chinwag ", env!("CARGO_PKG_VERSION")).into(),
            sessions: arguments.sessions,
        })?;
        let mut take = |table: &str, columns: Columns| {
            file.rows += 1;
            let row = Columns::from_iter([(table.to_owned(), Value::Object(columns))]);
            file.line(&row)
        };
        store.give(arguments.sessions, &mut take).await?;
        Ok(file.finish()?)
    };
    let written: Result<u64, ArchiveError> = written.await;
    match written {
        Ok(rows) => {
            let path = arguments.path.display();
            writeln!(out, "{path} has {rows} rows, and is whole")?;
            Ok(())
        }
        Err(error) => {
            // What is left of it helps nobody, and has secrets.
            drop(fs::remove_file(beside));
            Err(error)
        }
    }
}

/// An archive that is read from its beginning, a line at a time.
struct Reading {
    file: BufReader<File>,
    line: Vec<u8>,
    digest: Sha256,
    rows: u64,
}

/// What a line is.
enum Line {
    Row(String, Columns),
    End,
}

impl Reading {
    fn begin(path: &Path, schema: i64) -> Result<(Reading, Head), ArchiveError> {
        let mut reading = Reading {
            file: BufReader::new(File::open(path)?),
            line: Vec::new(),
            digest: Sha256::new(),
            rows: 0,
        };
        reading.next_line()?;
        let head: Head = match serde_json::from_slice(&reading.line) {
            Ok(head) => head,
            Err(_) => return unfit(format!("{} is no archive of Chinwag's", path.display())),
        };
        if head.archive != "chinwag" {
            return unfit(format!("{} is no archive of Chinwag's", path.display()));
        }
        if head.version > VERSION || head.schema > schema {
            let Head { made_by, .. } = &head;
            return unfit(format!(
                "the archive is of a later version ({made_by}, schema {}) than this program (schema {schema})",
                head.schema
            ));
        }
        reading.digest.update(&reading.line);
        Ok((reading, head))
    }

    /// The next line with its end, which a line that was cut does not have.
    fn next_line(&mut self) -> Result<(), ArchiveError> {
        self.line.clear();
        let mut limited = io::Read::take(&mut self.file, LINE_MAX_BYTES as u64);
        limited.read_until(b'\n', &mut self.line)?;
        match self.line.last() {
            Some(b'\n') => Ok(()),
            _ => unfit(format!(
                "the archive is cut off, or damaged, after {} rows: nothing of it is to be believed",
                self.rows
            )),
        }
    }

    /// The next row. That the end is right is looked at, too.
    fn next(&mut self) -> Result<Line, ArchiveError> {
        self.next_line()?;
        if let Ok(EndLine { end }) = serde_json::from_slice(&self.line) {
            let sha256 = hexadecimal(&self.digest.clone().finalize());
            if end.rows != self.rows || end.sha256 != sha256 {
                return unfit(
                    "the archive is damaged: its end does not fit what is before it".into(),
                );
            }
            return Ok(Line::End);
        }
        self.digest.update(&self.line);
        self.rows += 1;
        let row: Result<Columns, _> = serde_json::from_slice(&self.line);
        let mut row = row.unwrap_or_default().into_iter();
        match (row.next(), row.next()) {
            (Some((table, Value::Object(columns))), None) => Ok(Line::Row(table, columns)),
            _ => unfit(format!("the archive's row {} cannot be read", self.rows)),
        }
    }
}

/// Rows of one table that stand behind each other.
#[derive(Default)]
struct Rows {
    table: String,
    rows: Vec<Columns>,
    bytes: usize,
}

impl Rows {
    /// Whether this one would have to go with others.
    fn is_full_for(&self, table: &str) -> bool {
        !self.rows.is_empty()
            && (self.table != table
                || self.rows.len() >= ROWS_AT_ONCE
                || self.bytes >= BYTES_AT_ONCE)
    }

    fn push(&mut self, table: String, columns: Columns, bytes: usize) {
        self.table = table;
        self.rows.push(columns);
        self.bytes += bytes;
    }
}

/// Puts all that an archive has into the store. It is read through twice: first whether it is whole, and whether its names are
/// free, before anything is written. One that was broken off goes on where it was, and one that is in is left alone.
///
/// # Errors
/// [`ArchiveError`]: in words what does not fit.
pub async fn import(
    store: &dyn Archives,
    arguments: &ImportArguments,
    out: &mut dyn Write,
) -> Result<(), ArchiveError> {
    let (mut reading, head) = Reading::begin(&arguments.path, store.schema())?;
    let state = store.import_state(head.id).await?;
    let taken = match state {
        None => taken_names(store, &mut reading).await?,
        Some(_) => {
            while let Line::Row(..) = reading.next()? {}
            Vec::new()
        }
    };
    if !taken.is_empty() {
        let told: Vec<&str> = taken.iter().take(NAMES_TOLD).map(String::as_str).collect();
        let more = match taken.len() - told.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return unfit(format!(
            "nothing is imported: this server has people or rooms of the archive's names, or such as look like them, or had \
             rooms of these names that were deleted: {}{more}",
            told.join(", ")
        ));
    }
    if state.is_some_and(|state| state.is_finished) {
        return Ok(writeln!(
            out,
            "this archive is in already; nothing was to be done"
        )?);
    }
    let done = state.map_or(0, |state| state.rows_done);
    if done > 0 {
        writeln!(out, "{done} rows are in already; it goes on behind them")?;
    }
    let (mut reading, _) = Reading::begin(&arguments.path, store.schema())?;
    let (mut rows, mut rows_before) = (Rows::default(), done);
    loop {
        let line = reading.next()?;
        let is_full = match &line {
            Line::Row(table, _) => rows.is_full_for(table),
            Line::End => !rows.rows.is_empty(),
        };
        if is_full {
            let Rows { table, rows, .. } = std::mem::take(&mut rows);
            let piece = ImportPiece {
                id: head.id,
                rows_before,
                table: &table,
                rows: &rows,
            };
            store.take(piece).await?;
            rows_before += rows.len() as u64;
        }
        match line {
            Line::Row(..) if reading.rows <= done => {}
            Line::Row(table, columns) => rows.push(table, columns, reading.line.len()),
            Line::End => break,
        }
    }
    store.finish_import(head.id).await?;
    writeln!(out, "all {} rows of the archive are in", reading.rows)?;
    Ok(())
}

/// Looks through the whole archive for names that are not free. That it is whole is known when this is.
async fn taken_names(
    store: &dyn Archives,
    reading: &mut Reading,
) -> Result<Vec<String>, ArchiveError> {
    let (mut taken, mut rows) = (Vec::new(), Rows::default());
    loop {
        let line = reading.next()?;
        let is_full = match &line {
            Line::Row(table, _) => rows.is_full_for(table),
            Line::End => !rows.rows.is_empty(),
        };
        if is_full {
            let Rows { table, rows, .. } = std::mem::take(&mut rows);
            taken.extend(store.taken_names(&table, &rows).await?);
        }
        match line {
            // Only these have names, and they stand first.
            Line::Row(table, columns)
                if matches!(&*table, "users" | "rooms" | "deleted_rooms" | "room_looks") =>
            {
                rows.push(table, columns, reading.line.len());
            }
            Line::Row(..) => {}
            Line::End => {
                taken.sort_unstable();
                taken.dedup();
                return Ok(taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn of_two_who_export_to_one_path_at_once_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.chinwag");
        let mut first = Growing::begin(&path).unwrap();
        first.line(&"of the first").unwrap();
        let refused = |begun: io::Result<Growing>| {
            let error = begun.map(drop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
            assert!(error.to_string().contains("another export"), "{error}");
        };
        refused(Growing::begin(&path));
        first.finish().unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        assert!(whole.starts_with("\"of the first\"\n{\"end\":"), "{whole}");
        // Also where the second has taken the place of the first, what is not whole gets no name.
        let first = Growing::begin(&path).unwrap();
        fs::remove_file(&first.beside).unwrap();
        let _second = Growing::begin(&path).unwrap();
        assert_eq!(
            first.finish().unwrap_err().kind(),
            io::ErrorKind::ResourceBusy
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn what_lies_where_it_grows_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.chinwag");
        let beside = folder.path().join("all.chinwag.part");
        let others = folder.path().join("others");
        let is_others = || fs::read_to_string(&others).unwrap() == "theirs";
        fs::write(&others, "theirs").unwrap();
        // A link that leads elsewhere, another name of somebody's file, and what is left over of an earlier export,
        // which somebody may still have open.
        symlink(&others, &beside).unwrap();
        drop(Growing::begin(&path).unwrap());
        assert!(is_others());
        fs::remove_file(&beside).unwrap();
        fs::hard_link(&others, &beside).unwrap();
        drop(Growing::begin(&path).unwrap());
        assert!(is_others());
        fs::set_permissions(&beside, Permissions::from_mode(0o666)).unwrap();
        let mut open = File::open(&beside).unwrap();
        let mut growing = Growing::begin(&path).unwrap();
        growing.line(&"a secret").unwrap();
        growing.finish().unwrap();
        assert_eq!(io::read_to_string(&mut open).unwrap(), "");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}
