//! The house rules that no lint knows, over every file that git tracks. In the manner of
//! TigerBeetle's `tidy.zig`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Longest line; rustfmt aims at 110 but leaves macros and comments as they are.
const MAX_COLUMNS: usize = 120;

/// Where the design lets `unsafe` be; ARCHITECTURE.md says why. Outside the library: the load
/// generator's own sockets, and the test that denies io_uring to a child by seccomp.
const UNSAFE: &[&str] = &[
    "src/shard/socket.rs",
    "src/shard/socket/",
    "src/shard/driver/",
    "src/tables/prices.rs",
    "src/tables/meter/words.rs",
    "bench/",
    "tests/serve.rs",
];

/// On the path of every request: nothing may print and nothing may panic unexplained.
const HOT: &[&str] = &["src/lpo/", "src/tables/", "src/shard/"];

/// The pages that lead a newcomer to files; what they name must be there.
const GUIDES: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

struct File {
    path: String,
    text: String,
}

impl File {
    fn is(&self, extensions: &[&str]) -> bool {
        let extension = Path::new(&self.path).extension();
        extension.is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    }

    fn under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Lines with their numbers, up to the unit tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let all_tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let end = if all_tests {
            Some(0)
        } else {
            self.text.find("#[cfg(test)]")
        };
        lines(&self.text[..end.unwrap_or(self.text.len())])
    }
}

/// What git tracks below the root, and what is new but not ignored.
fn paths() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("git is needed to know which files are ours");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let paths: Vec<_> = names.split_terminator('\0').map(str::to_owned).collect();
    assert!(
        paths.iter().any(|path| path == "tests/tidy.rs"),
        "this is not the repository"
    );
    paths
}

/// Every text file that people write; a file of another kind has no extension of these.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: String| {
        // A file that git tracks but the working tree lacks is being deleted.
        let text = std::fs::read_to_string(root.join(&path)).ok()?;
        Some(File { path, text })
    };
    let kinds = ["rs", "md", "toml", "py", "sql", "sh", "yaml", "html", "css", "js"];
    let mut files: Vec<_> = paths()
        .into_iter()
        .filter(|path| !path.starts_with("fuzz/corpus/"))
        .filter_map(text)
        .filter(|file| file.is(&kinds) || file.text.starts_with("#!"))
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The line without its comment; `//` in a URL is kept.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.split_once(" // ").map_or(line, |(code, _)| code)
}

/// What a rule found, all at once.
#[derive(Default)]
struct Findings(String);

impl Findings {
    fn add(&mut self, file: &File, line: usize, what: &str) {
        writeln!(self.0, "{}:{line}: {what}", file.path).expect("a String takes everything");
    }

    fn must_be_none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two halves, so that this file does not find itself.
    let marks = [
        concat!("to", "do!"),
        concat!("un", "implemented!"),
        concat!("d", "bg!"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("X", "XX"),
        concat!("#[ig", "nore"),
    ];
    let mut findings = Findings::default();
    for file in files() {
        for (number, line) in lines(&file.text) {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                findings.add(&file, number, mark);
            }
        }
    }
    findings.must_be_none();
}

#[test]
fn the_hot_path_neither_prints_nor_unwraps() {
    let mut findings = Findings::default();
    for file in files() {
        if !file.under(HOT) {
            continue;
        }
        for (number, line) in file.code() {
            for call in ["println!", "eprintln!", "print!", ".unwrap()"] {
                if without_comment(line).contains(call) {
                    findings.add(&file, number, call);
                }
            }
        }
    }
    findings.must_be_none();
}

#[test]
fn unsafe_stays_where_the_design_put_it() {
    let mut findings = Findings::default();
    for file in files() {
        if !file.is(&["rs"]) || file.under(UNSAFE) {
            continue;
        }
        for (number, line) in lines(&file.text) {
            let mut words = without_comment(line).split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == concat!("un", "safe")) {
                findings.add(&file, number, "not among the places that may");
            }
        }
    }
    findings.must_be_none();
}

/// String literals, links and rows of a Markdown table cannot be broken, so they may be longer.
#[test]
fn lines_fit_a_screen() {
    let mut findings = Findings::default();
    for file in files() {
        for (number, line) in lines(&file.text) {
            if line != line.trim_end() {
                findings.add(&file, number, "white space at the end");
            }
            let table = line.trim_start_matches(['/', '!', ' ']).starts_with('|');
            let whole = table || line.contains('"') || line.contains("://");
            if file.is(&["rs", "md"]) && !whole && line.chars().count() > MAX_COLUMNS {
                findings.add(&file, number, "longer than 120 columns");
            }
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            findings.add(&file, lines(&file.text).count(), "no newline at the end");
        }
    }
    findings.must_be_none();
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let homes = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/"),
    ];
    let mut findings = Findings::default();
    for file in files() {
        for (number, line) in lines(&file.text) {
            if homes.iter().any(|home| {
                // A path begins there, not in the middle of a word or a longer path.
                line.match_indices(home)
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".-_/".contains(c)))
            }) {
                findings.add(&file, number, "an absolute path of one machine");
            }
        }
    }
    findings.must_be_none();
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut findings = Findings::default();
    for file in files() {
        let first = file.text.lines().next().unwrap_or_default();
        // Cargo's build plan for a fuzz target and a module of unit tests are told by their names.
        if file.is(&["rs"]) && !file.path.ends_with("/tests.rs") && !first.starts_with("//!") {
            findings.add(&file, 1, "begins without a //! line");
        }
    }
    findings.must_be_none();
}

#[test]
fn every_venue_file_has_a_row_in_the_table() {
    let mut rows = String::new();
    let mut parsers = BTreeSet::new();
    for file in files() {
        let Some(name) = file.path.strip_prefix("src/market/venue/") else {
            continue;
        };
        if name == "mod.rs" {
            let table = file
                .text
                .split_once("pub const VENUES")
                .expect("the table is in mod.rs")
                .1;
            table
                .split_once("];")
                .expect("the table ends")
                .0
                .clone_into(&mut rows);
        } else if !name.contains('/') && file.text.contains("fn parse(") {
            parsers.insert(name.trim_end_matches(".rs").to_owned());
        }
    }
    assert!(
        parsers.contains("kraken"),
        "no parser was recognised: {parsers:?}"
    );
    for parser in parsers {
        assert!(
            rows.contains(&format!("{parser}::parse")),
            "{parser}.rs has no row in VENUES"
        );
    }
}

/// In the guides, every path in backticks and every relative link leads somewhere.
#[test]
fn the_guides_lead_to_what_exists() {
    let paths = paths();
    let exists = |path: &str| {
        let path = path.trim_end_matches('/');
        paths.iter().any(|known| {
            known
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let rooms: BTreeSet<_> = paths
        .iter()
        .filter_map(|path| Some(path.split_once('/')?.0))
        .collect();
    let mut findings = Findings::default();
    let mut seen = 0;
    for file in files()
        .into_iter()
        .filter(|file| GUIDES.contains(&file.path.as_str()))
    {
        for (number, line) in lines(&file.text) {
            // Every other piece stands between backticks.
            let quoted = line.split('`').skip(1).step_by(2);
            let ours = quoted.filter(|text| {
                let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
                plain && text.split_once('/').is_some_and(|(room, _)| rooms.contains(room))
            });
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let relative = links
                .map(|link| link.split('#').next().unwrap_or_default())
                .filter(|link| !link.is_empty() && !link.contains("://"));
            for path in ours.chain(relative) {
                seen += 1;
                if !exists(path) {
                    findings.add(&file, number, &format!("{path} does not exist"));
                }
            }
        }
    }
    assert!(seen > 0, "the guides name no path: the search is broken");
    findings.must_be_none();
}
