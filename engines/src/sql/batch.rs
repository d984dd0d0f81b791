//! Lists of any length in statements of few lengths. Every distinct statement text is prepared once on each connection
//! and kept there, so there must be few; and a list that is cut into many statements pays for the way to the engine
//! each time, so there must not be too few.

use std::{ops::Range, sync::OnceLock};

/// The most rows in one statement: a power of two. Beyond it, MariaDB gains nothing any more.
pub(super) const ROWS_MAX: usize = 512;

/// The most bytes in one statement, whatever the server takes: beyond it, nothing is gained any more.
const BYTES_MAX: usize = 512 * 1024;

/// What a key takes in a list of them: a room's name, an id, and their place in the statement.
const KEY_BYTES: usize = 128;

/// How many sizes of a statement there are: 1, 2, 4, ... [`ROWS_MAX`].
const SIZES: usize = ROWS_MAX.ilog2() as usize + 1;

/// One statement in each size: its text with `item` repeated.
pub(super) struct BySize {
    head: &'static str,
    item: &'static str,
    between: &'static str,
    tail: &'static str,
    texts: [OnceLock<String>; SIZES],
}

impl BySize {
    /// `head item between item ... tail`.
    pub(super) const fn new(
        head: &'static str,
        item: &'static str,
        between: &'static str,
        tail: &'static str,
    ) -> BySize {
        let texts = [const { OnceLock::new() }; SIZES];
        BySize {
            head,
            item,
            between,
            tail,
            texts,
        }
    }

    /// The text for a list of this length, which must be a power of two up to [`ROWS_MAX`].
    pub(super) fn sql(&'static self, length: usize) -> &'static str {
        debug_assert!(length.is_power_of_two() && length <= ROWS_MAX);
        self.texts[length.ilog2() as usize].get_or_init(|| {
            let items = vec![self.item; length].join(self.between);
            format!("{}{items}{}", self.head, self.tail)
        })
    }
}

/// Cuts rows of these many bytes into runs whose lengths have a statement: the longest first, at most nine more than
/// needed, and none of more than the engine takes in one statement, unless a single row is.
pub(super) fn runs(bytes: &[usize], takes: usize) -> Vec<Range<usize>> {
    let most = BYTES_MAX.min(takes);
    let mut runs = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let left = (bytes.len() - start).min(ROWS_MAX);
        let mut length = 1 << left.ilog2();
        while length > 1 && bytes[start..start + length].iter().sum::<usize>() > most {
            length /= 2;
        }
        runs.push(start..start + length);
        start += length;
    }
    runs
}

/// Cuts keys to look up into lists whose lengths have a statement. To look a key up twice does no harm, so a list is
/// filled up with its last key, to the next of only four lengths; to none that is more than the engine takes.
pub(super) fn lists<T: Copy>(keys: &[T], takes: usize) -> impl Iterator<Item = Vec<T>> {
    const LENGTHS: [usize; 4] = [1, 16, 128, ROWS_MAX];
    let fits = |length: &usize| length * KEY_BYTES <= takes;
    let longest = LENGTHS.into_iter().rev().find(fits).unwrap_or(1);
    keys.chunks(longest).map(|keys| {
        let mut list = keys.to_vec();
        let length = LENGTHS.into_iter().find(|length| keys.len() <= *length);
        list.resize(length.unwrap_or(ROWS_MAX), keys[keys.len() - 1]);
        list
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_every_row_once_in_few_statements() {
        for rows in 0..1_500 {
            let runs = runs(&vec![300; rows], usize::MAX);
            let covered: Vec<usize> = runs.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>());
            assert!(
                runs.len() <= rows / ROWS_MAX + 9,
                "{rows} rows in {} statements",
                runs.len()
            );
            assert!(runs.iter().all(|run| run.len().is_power_of_two()));
        }
    }

    #[test]
    fn long_rows_go_in_smaller_statements() {
        for takes in [usize::MAX, 65_536, 1_024] {
            for run in runs(&[16_000; 512], takes) {
                assert!(run.len() == 1 || run.len() * 16_000 <= BYTES_MAX.min(takes));
            }
        }
        assert_eq!(runs(&[BYTES_MAX * 2, 1], usize::MAX).len(), 2);
    }

    #[test]
    fn lists_are_filled_up_with_their_last_key() {
        let keys: Vec<usize> = (0..530).collect();
        let all: Vec<_> = lists(&keys, usize::MAX).collect();
        assert_eq!([all[0].len(), all[1].len()], [512, 128]);
        assert_eq!(all[1][17..], [529; 111]);
        for (takes, longest) in [(65_536, 512), (65_535, 128), (4_096, 16), (1_024, 1)] {
            let lengths = lists(&keys, takes).map(|list| list.len());
            assert_eq!(lengths.max(), Some(longest), "{takes}");
        }
    }

    #[test]
    fn a_statement_is_written_out_for_its_size() {
        static SELECT: BySize = BySize::new("SELECT a WHERE b IN (", "?", ", ", ") LIMIT 1");
        assert_eq!(SELECT.sql(2), "SELECT a WHERE b IN (?, ?) LIMIT 1");
    }
}
