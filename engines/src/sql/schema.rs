//! Whether the schema that is there is the one this program was built with.

use sqlx::migrate::{MigrateError, Migrator};

/// Compares the migrations that were applied, as (version, finished), with those that this program has.
pub(super) fn check(applied: &[(i64, bool)], program: &Migrator) -> Result<(), String> {
    if let Some((version, _)) = applied.iter().find(|(_, finished)| !finished) {
        return Err(format!(
            "migration {version} of the schema is not finished: run `persister migrate`"
        ));
    }
    let has = applied
        .iter()
        .map(|(version, _)| *version)
        .max()
        .unwrap_or(0);
    let needs = newest(program);
    if has < needs {
        Err(older(has, needs))
    } else if has > needs {
        Err(newer(has, needs))
    } else {
        Ok(())
    }
}

/// The version that this program needs.
pub(super) fn newest(program: &Migrator) -> i64 {
    program
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

fn older(has: i64, needs: i64) -> String {
    format!("the schema is at version {has}, this program needs {needs}: run `persister migrate`")
}

fn newer(has: i64, needs: i64) -> String {
    format!(
        "the schema is at version {has}, this program knows {needs} at most: it is too old for it"
    )
}

/// A failed migration in words.
pub(super) fn why(error: MigrateError, program: &Migrator) -> String {
    match error {
        MigrateError::VersionMissing(version) => newer(version, newest(program)),
        MigrateError::VersionMismatch(version) => format!(
            "migration {version} was applied with another text than this program has: a released migration was changed"
        ),
        error => format!("the schema cannot be migrated: {error}"),
    }
}
