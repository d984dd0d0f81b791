//! What can be seen of the database server when a service connects, and is dangerous.

use std::{collections::HashMap, time::Duration};

use sqlx::Row as _;

use super::{Connection, store::MySqlStore};
use crate::{
    dangers::{clock, is_before, now},
    sql::call::reading,
};

/// Everybody may ask for these. The clock comes last.
const ASKED: &str = "SHOW VARIABLES WHERE Variable_name IN ('version', 'max_allowed_packet', 'transaction_isolation', \
     'tx_isolation', 'sql_mode', 'innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog')";
const TIME: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) AS CHAR)";

/// The largest row, with all that belongs to it, fits into this many times over.
const PACKET_BYTES_MIN: u64 = 1 << 20;

impl MySqlStore {
    /// What is dangerous about how the server is set, in words. What is not answered is nothing.
    pub async fn dangers(&self) -> Vec<String> {
        let asked = now();
        let told = reading!(self, |connection| {
            let time: String = sqlx::query_scalar(TIME).fetch_one(&mut *connection).await?;
            let answered = now();
            let mut variables = HashMap::new();
            for row in sqlx::raw_sql(ASKED).fetch_all(connection).await? {
                let (name, value): (String, String) =
                    (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
                variables.insert(name, value);
            }
            Ok((time, answered, variables))
        });
        let Ok((time, answered, variables)) = told.await else {
            return Vec::new();
        };
        let theirs = time.parse().ok().map(Duration::from_secs_f64);
        let clock = theirs.and_then(|theirs| clock("the database", asked, theirs, answered));
        let dangers = of(&variables).map(|what| format!("the database: {what}"));
        dangers.chain(clock).collect()
    }
}

/// What is dangerous about these variables.
fn of(variables: &HashMap<String, String>) -> impl Iterator<Item = String> {
    let value = |name: &str| variables.get(name).map(String::as_str);
    let is = |name: &str, what: &str| value(name).is_some_and(|is| is.eq_ignore_ascii_case(what));
    let version = value("version").filter(|version| {
        let least = if version.contains("MariaDB") {
            (10, 11)
        } else {
            (8, 0)
        };
        is_before(version, least)
    });
    let version = version.map(|version| {
        format!("version {version} is older than MySQL 8 and MariaDB 10.11, which are tested")
    });
    let packet = value("max_allowed_packet").and_then(|bytes| bytes.parse::<u64>().ok());
    let packet = packet.filter(|bytes| *bytes < PACKET_BYTES_MIN).map(|bytes| {
        format!("`max_allowed_packet` is {bytes}: batches are cut to it, and long messages may not fit; set 16M")
    });
    let isolation = (is("transaction_isolation", "READ-UNCOMMITTED")
        || is("tx_isolation", "READ-UNCOMMITTED"))
    .then(|| {
        "`transaction_isolation` is READ-UNCOMMITTED: what is taken back again may be shown; set REPEATABLE-READ".to_owned()
    });
    let strict = value("sql_mode").filter(|mode| !mode.contains("STRICT_"));
    let strict = strict.map(|_| {
        "`sql_mode` is not strict: what does not fit is cut instead of refused; add STRICT_TRANS_TABLES".to_owned()
    });
    let flushed = value("innodb_flush_log_at_trx_commit").filter(|value| *value != "1");
    let flushed = flushed.map(|value| {
        format!("`innodb_flush_log_at_trx_commit` is {value}: a power cut loses what it said that it keeps; set 1")
    });
    let synced = value("sync_binlog").filter(|value| is("log_bin", "ON") && *value != "1");
    let synced = synced.map(|value| {
        format!("`sync_binlog` is {value}: after a power cut replicas may lack what the server has; set 1")
    });
    [version, packet, isolation, strict, flushed, synced]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(changed: &[(&str, &str)]) -> HashMap<String, String> {
        let good = [
            ("version", "8.4.3"),
            ("max_allowed_packet", "67108864"),
            ("transaction_isolation", "REPEATABLE-READ"),
            ("sql_mode", "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"),
            ("innodb_flush_log_at_trx_commit", "1"),
            ("log_bin", "ON"),
            ("sync_binlog", "1"),
        ];
        let all = good.iter().chain(changed);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_set_as_it_should_be_is_not_talked_about() {
        assert_eq!(of(&variables(&[])).count(), 0);
        assert_eq!(of(&HashMap::new()).count(), 0);
        assert_eq!(of(&variables(&[("version", "10.11.6-MariaDB")])).count(), 0);
        // Nobody has a binary log that is not written.
        let without = [("log_bin", "OFF"), ("sync_binlog", "0")];
        assert_eq!(of(&variables(&without)).count(), 0);
    }

    #[test]
    fn each_danger_is_told_with_what_to_set() {
        for (name, value, told) in [
            ("version", "5.7.44", "5.7.44"),
            ("version", "10.6.1-MariaDB", "10.6.1"),
            ("max_allowed_packet", "65536", "set 16M"),
            (
                "transaction_isolation",
                "READ-UNCOMMITTED",
                "REPEATABLE-READ",
            ),
            ("sql_mode", "NO_ENGINE_SUBSTITUTION", "STRICT_TRANS_TABLES"),
            ("innodb_flush_log_at_trx_commit", "2", "set 1"),
            ("sync_binlog", "0", "set 1"),
        ] {
            let dangers: Vec<String> = of(&variables(&[(name, value)])).collect();
            assert_eq!(dangers.len(), 1, "{dangers:?}");
            assert!(dangers[0].contains(told), "{dangers:?}");
        }
    }
}
