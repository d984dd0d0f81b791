//! Whether a text of Markdown ends inside a fenced code block, and what closes it: whatever is put behind such a text would
//! stand in the code, and in what people copy of it. By CommonMark's rules: any length of fence, `~~~`, inside lists and
//! quotes. Pure.

/// The text without what would open or close a block half, and with an open block closed: by a line of its own, in the
/// list or the quote where the block is. Nothing else of it changes.
pub(crate) fn closed(text: &str) -> String {
    let mut blocks = Blocks::default();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        blocks.line(line.trim_end_matches(['\n', '\r']), at);
        at += line.len();
    }
    let Some(fence) = blocks.open else {
        return text.to_owned();
    };
    let containers = &blocks.containers[..fence.depth];
    // The last line may be a fence of which the end is missing.
    let last_at = text.rfind('\n').map_or(0, |at| at + 1);
    let is_half = last_at > fence.at && {
        let mut line = Line::of(&text[last_at..]);
        let inside = containers.iter().all(|container| line.enter(*container));
        let (_, rest) = line.indented();
        inside && !rest.is_empty() && rest.chars().all(|c| c == fence.mark)
    };
    let kept = if is_half { &text[..last_at] } else { text }.trim_end();
    let is_bare = kept.len() <= fence.at || !kept[fence.at..].contains('\n');
    if is_bare {
        // Nothing but the line that opens it.
        return closed(text[..fence.at].trim_end());
    }
    let mut end = String::from("\n");
    for container in containers {
        match container {
            Container::Quote => end.push_str("> "),
            Container::Item { indent } => end.extend(std::iter::repeat_n(' ', *indent)),
        }
    }
    end.extend(std::iter::repeat_n(fence.mark, fence.length));
    format!("{kept}{end}")
}

/// What a block may stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Quote,
    /// Of a list: its lines are indented by so many columns.
    Item {
        indent: usize,
    },
}

impl Container {
    fn is_item(&self) -> bool {
        matches!(self, Container::Item { .. })
    }
}

/// A code block that is open.
#[derive(Clone, Copy, Debug)]
struct Fence {
    mark: char,
    length: usize,
    /// In so many containers.
    depth: usize,
    /// Where the line that opens it begins, in bytes.
    at: usize,
}

/// The blocks that are open after the lines so far.
#[derive(Debug, Default)]
struct Blocks {
    containers: Vec<Container>,
    open: Option<Fence>,
    /// The last line was one of a paragraph, which not everything ends.
    in_paragraph: bool,
    /// The last line began an item and had nothing in it.
    is_item_empty: bool,
}

impl Blocks {
    /// The next line, which begins at this byte of the text.
    fn line(&mut self, line: &str, at: usize) {
        let mut line = Line::of(line);
        let mut entered = self
            .containers
            .iter()
            .take_while(|container| line.enter(**container))
            .count();
        // An item may begin with one empty line, and not with two.
        if std::mem::take(&mut self.is_item_empty)
            && entered == self.containers.len()
            && line.is_blank()
        {
            entered -= 1;
        }
        if let Some(fence) = self.open {
            if entered >= fence.depth {
                if line.closes(fence) {
                    self.open = None;
                }
                return;
            }
            self.open = None;
        }
        let goes_on = self.in_paragraph && entered == self.containers.len();
        let mut begun = Vec::new();
        while let Some(container) = line.begins(goes_on && begun.is_empty()) {
            begun.push(container);
        }
        let opens = line.opens();
        let may_go_on = self.in_paragraph && begun.is_empty();
        let is_underline = goes_on && begun.is_empty() && line.is_underline();
        let is_text = opens.is_none() && line.is_text(may_go_on) && !is_underline;
        if self.in_paragraph && is_text && begun.is_empty() {
            // A paragraph's line may leave out the marks of what it is in.
            return;
        }
        self.in_paragraph = is_text;
        self.containers.truncate(entered);
        self.is_item_empty = begun.last().is_some_and(Container::is_item) && line.is_blank();
        self.containers.extend(begun);
        let depth = self.containers.len();
        self.open = opens.map(|(mark, length)| Fence {
            mark,
            length,
            depth,
            at,
        });
    }
}

/// What is left of a line, with the columns that a tab stands for.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    rest: &'a str,
    column: usize,
    /// Columns of a tab that was taken in part.
    spare: usize,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Line<'a> {
        Line {
            rest: line,
            column: 0,
            spare: 0,
        }
    }

    /// The columns of blanks ahead, and what stands behind them.
    fn indented(&self) -> (usize, &'a str) {
        let rest = self.rest.trim_start_matches([' ', '\t']);
        let mut ahead = *self;
        ahead.skip(usize::MAX);
        (ahead.column - self.column + self.spare, rest)
    }

    fn is_blank(&self) -> bool {
        self.rest.trim().is_empty()
    }

    /// Takes up to so many columns of blanks.
    fn skip(&mut self, columns: usize) {
        let mut left = columns;
        let spare = self.spare.min(left);
        (self.spare, left) = (self.spare - spare, left - spare);
        while left > 0 {
            let width = match self.rest.chars().next() {
                Some(' ') => 1,
                Some('\t') => 4 - self.column % 4,
                _ => return,
            };
            self.rest = &self.rest[1..];
            self.column += width;
            self.spare = width.saturating_sub(left);
            left = left.saturating_sub(width);
        }
    }

    /// Takes the mark of a quote or of an item, so many bytes wide, behind this indentation.
    fn take_mark(&mut self, indent: usize, width: usize) {
        self.skip(indent);
        self.rest = &self.rest[width..];
        self.column += width;
    }

    /// Goes on in a container that the line before was in, if it does.
    fn enter(&mut self, container: Container) -> bool {
        let (indent, rest) = self.indented();
        match container {
            Container::Quote if indent <= 3 && rest.starts_with('>') => {
                self.take_mark(indent, 1);
                self.skip(1);
                true
            }
            Container::Quote => false,
            Container::Item { indent: needed } => {
                let goes_on = indent >= needed || self.is_blank();
                if goes_on {
                    self.skip(needed);
                }
                goes_on
            }
        }
    }

    /// Begins a container, if it does. An item that is empty, or is not the first of its list, is none in a paragraph.
    fn begins(&mut self, in_paragraph: bool) -> Option<Container> {
        let (indent, rest) = self.indented();
        if indent > 3 {
            return None;
        }
        if rest.starts_with('>') {
            self.enter(Container::Quote);
            return Some(Container::Quote);
        }
        let width = item_mark(rest).filter(|_| !is_break(rest))?;
        let is_first = width == 1 || rest[..width - 1].parse() == Ok(1);
        if in_paragraph && (!is_first || rest[width..].trim().is_empty()) {
            return None;
        }
        self.take_mark(indent, width);
        let (blanks, behind) = self.indented();
        let blanks = if behind.is_empty() || blanks > 4 {
            1
        } else {
            blanks
        };
        self.skip(blanks);
        Some(Container::Item {
            indent: indent + width + blanks,
        })
    }

    /// Whether it is one of a paragraph.
    fn is_text(&self, in_paragraph: bool) -> bool {
        let (indent, rest) = self.indented();
        let level = rest.len() - rest.trim_start_matches('#').len();
        let is_heading = (1..=6).contains(&level)
            && matches!(rest.as_bytes().get(level), None | Some(b' ' | b'\t'));
        let is_code = indent > 3;
        !self.is_blank()
            && match in_paragraph {
                true if is_code => true,
                _ => !is_code && !is_heading && !is_break(rest),
            }
    }

    /// Whether it makes a heading of the paragraph before.
    fn is_underline(&self) -> bool {
        let (indent, rest) = self.indented();
        let marks = ['=', '-'].iter();
        let is_mark = |mark: &char| rest.trim_end().trim_start_matches(*mark).is_empty();
        indent <= 3 && !rest.is_empty() && marks.into_iter().any(is_mark)
    }

    /// The fence that it opens a block with, if it does.
    fn opens(&self) -> Option<(char, usize)> {
        let (indent, rest) = self.indented();
        let mark = rest
            .chars()
            .next()
            .filter(|mark| ['`', '~'].contains(mark))?;
        let info = rest.trim_start_matches(mark);
        let length = rest.len() - info.len();
        let is_fence = indent <= 3 && length >= 3 && (mark == '~' || !info.contains('`'));
        is_fence.then_some((mark, length))
    }

    fn closes(&self, fence: Fence) -> bool {
        let (indent, rest) = self.indented();
        let behind = rest.trim_start_matches(fence.mark);
        indent <= 3 && rest.len() - behind.len() >= fence.length && behind.trim().is_empty()
    }
}

/// How wide the mark is with which an item of a list begins: `-`, `+`, `*`, `1.`, `1)`.
fn item_mark(rest: &str) -> Option<usize> {
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let marks: &[char] = if digits == 0 {
        &['-', '+', '*']
    } else {
        &['.', ')']
    };
    let behind = rest[digits..].strip_prefix(marks)?;
    let ends = behind.is_empty() || behind.starts_with([' ', '\t']);
    (ends && digits <= 9).then_some(digits + 1)
}

/// Whether it is a line across the page, whose marks are none of a list.
fn is_break(rest: &str) -> bool {
    ['-', '*', '_'].into_iter().any(|mark| {
        let marks = rest.matches(mark).count();
        marks >= 3 && rest.chars().all(|c| c == mark || c == ' ' || c == '\t')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Parser, Tag};

    use super::*;

    #[test]
    fn an_open_block_is_closed_where_it_is() {
        for (text, wanted) in [
            ("no code", "no code"),
            ("```rust\nlet a = 1;", "```rust\nlet a = 1;\n```"),
            ("```\na\n```", "```\na\n```"),
            ("```\na\n```\nb\n```\nc", "```\na\n```\nb\n```\nc\n```"),
            ("~~~\na\n```\nb", "~~~\na\n```\nb\n~~~"),
            ("`````md\n```\na\n```\nb", "`````md\n```\na\n```\nb\n`````"),
            ("  ```\n  a", "  ```\n  a\n```"),
            ("    ```\n    a", "    ```\n    a"),
            ("``` a ` b\nc", "``` a ` b\nc"),
            ("~~~ a ` b\nc", "~~~ a ` b\nc\n~~~"),
            ("```\na\n``` no end\nb", "```\na\n``` no end\nb\n```"),
            ("- one\n\n  ```\n  a", "- one\n\n  ```\n  a\n  ```"),
            ("1. ```py\n   a", "1. ```py\n   a\n   ```"),
            ("1. one\n```\na", "1. one\n```\na\n```"),
            ("- a\n  - ~~~~\n    b", "- a\n  - ~~~~\n    b\n    ~~~~"),
            ("- ```\n  a\nb", "- ```\n  a\nb"),
            ("> ```\n> a", "> ```\n> a\n> ```"),
            ("> - ```\n>   a", "> - ```\n>   a\n>   ```"),
            ("> ```\n> a\n\nb", "> ```\n> a\n\nb"),
            ("-\t```\n\ta", "-\t```\n\ta\n    ```"),
            ("* * *\n```\na", "* * *\n```\na\n```"),
            ("```\r\na", "```\r\na\n```"),
            // What opens or closes a block half.
            ("Here:\n\n```", "Here:"),
            ("Here:\n\n```rust", "Here:"),
            ("```", ""),
            ("```\na\n``", "```\na\n```"),
            ("> ```\n> a\n> `", "> ```\n> a\n> ```"),
            ("````\na\n```", "````\na\n````"),
            ("~~~\na\n~~~~", "~~~\na\n~~~~"),
        ] {
            assert_eq!(closed(text), wanted, "{text:?}");
        }
    }

    /// Whether the note is a paragraph by itself, in nothing else.
    fn stands_alone(markdown: &str, note: &str) -> bool {
        let mut within = Vec::new();
        let mut found = false;
        for event in Parser::new(markdown) {
            match event {
                Event::Start(tag) => within.push(tag),
                Event::End(_) => drop(within.pop()),
                Event::Text(text) if &*text == note => {
                    found = matches!(within[..], [Tag::Paragraph]);
                }
                _ => {}
            }
        }
        found
    }

    const TEXT: &str = "Two ways:\n\n1. In Rust:\n   ```rust\n   fn a() {}\n   ```\n2. In a shell:\n\n   ~~~~sh\n   ```\n   b\n   ~~~~\n\n> quoted\n> ````md\n> ```\n> c\n> ```\n> ````\n\n- x\n  - y\n\n    ```\n    d\n\n    e\n    ```\n\n```\nf\n```\nend";

    #[test]
    fn wherever_a_text_is_cut_what_is_put_behind_it_stands_by_itself() {
        for (at, _) in TEXT.char_indices() {
            let cut = closed(TEXT[..at].trim_end());
            assert!(stands_alone(&format!("{cut}\n\nNOTE"), "NOTE"), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_text_is_what_is_put_behind_it_stands_by_itself(
            lines in proptest::collection::vec("(> ?|- |[12]\\. | {1,4}|\t){0,3}(`{2,5}|~{2,5})?[a-z ]{0,3}", 0..12),
        ) {
            let text = lines.join("\n");
            let cut = closed(text.trim());
            prop_assert!(stands_alone(&format!("{cut}\n\nNOTE"), "NOTE"), "{:?}", cut);
            prop_assert_eq!(closed(&cut), cut.clone());
        }
    }
}
