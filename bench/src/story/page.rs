//! `page`: makes the figures of a page again, or tells whether they still hold.
//!
//! A page names the commands behind its figures in comments that are not shown:
//!
//! ```text
//! <!-- trinity-bench minutes --symbol BTC-USD --at 2023-03-11T02:31Z -->
//! | the table ... |
//! <!-- end -->
//!
//! <!-- trinity-bench picture --symbol BTC-USD --out docs/btc.svg -->
//! ```
//!
//! A command may go on over several lines. What stands up to `<!-- end -->` is what `minutes`
//! prints; a picture goes to its file, whose name is taken from the folder that `page` runs in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Parser, Subcommand};

use super::{minutes, picture};

const BEGIN: &str = "<!-- trinity-bench ";
const CLOSE: &str = "-->";
const END: &str = "<!-- end -->";

#[derive(Args, Debug)]
pub(crate) struct PageArgs {
    /// The page
    #[arg(value_name = "FILE.md")]
    page: PathBuf,
    /// Change nothing; fail when the page or a picture is not what the program makes today
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Parser)]
#[command(name = "trinity-bench")]
struct Line {
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Debug, Subcommand)]
enum Figure {
    Minutes(Box<minutes::MinutesArgs>),
    Picture(picture::PictureArgs),
}

/// What a page must be, and the files it shows.
struct Made {
    page: String,
    files: Vec<(PathBuf, String)>,
}

/// Runs the command; false when `--check` finds a difference.
pub(crate) fn run(args: &PageArgs) -> anyhow::Result<bool> {
    let made = Made::of(&args.page)?;
    let mut fits = true;
    for (path, text) in made.files.iter().chain([&(args.page.clone(), made.page.clone())]) {
        if fs::read_to_string(path).is_ok_and(|known| known == *text) {
            println!("{}: as it was", path.display());
        } else if args.check {
            println!("{}: not what the program makes today", path.display());
            fits = false;
        } else {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}: written", path.display());
        }
    }
    Ok(fits)
}

impl Made {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut made = Self {
            page: String::with_capacity(text.len()),
            files: Vec::new(),
        };
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            made.page.push_str(line);
            made.page.push('\n');
            let Some(words) = line.strip_prefix(BEGIN) else {
                continue;
            };
            let told = || format!("{}, line {}", path.display(), number + 1);
            let mut words = words.to_owned();
            while !words.ends_with(CLOSE) {
                let (_, line) = lines
                    .next()
                    .with_context(|| format!("{}: no `{CLOSE}`", told()))?;
                made.page.push_str(line);
                made.page.push('\n');
                words.push(' ');
                words.push_str(line);
            }
            let words = words.trim_end_matches(CLOSE).split_whitespace();
            let words = ["trinity-bench"].into_iter().chain(words);
            let line = Line::try_parse_from(words).with_context(told)?;
            match line.figure {
                Figure::Minutes(args) => {
                    ensure!(
                        args.out.is_none(),
                        "{}: a table stands in the page; leave out --out",
                        told()
                    );
                    made.page.push_str(&args.table().with_context(told)?);
                    if !lines.any(|(_, line)| line == END) {
                        bail!("{}: no `{END}` after it", told());
                    }
                    made.page.push_str(END);
                    made.page.push('\n');
                }
                Figure::Picture(args) => {
                    made.files
                        .push((args.out.clone(), args.paint().with_context(told)?));
                }
            }
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page on what the program says must say what the program says.
    #[test]
    fn the_pages_tables_and_pictures_are_what_the_program_makes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for page in ["docs/depeg-2023-03.md"] {
            let made = Made::of(&root.join(page)).expect("a page with good commands");
            let known = fs::read_to_string(root.join(page)).expect("the page");
            let again =
                format!("run `cargo run --release -p trinity-bench -- page {page}` and read it again");
            assert!(
                made.page == known,
                "{page} does not say what the program says: {again}"
            );
            assert!(made.files.len() >= 2, "{page} has its pictures");
            for (path, text) in &made.files {
                let known = fs::read_to_string(root.join(path)).expect("the picture");
                assert!(known == *text, "{} is another picture: {again}", path.display());
            }
            assert!(
                known.matches(BEGIN).count() > made.files.len(),
                "{page} has its tables"
            );
        }
    }

    #[test]
    fn a_table_is_made_anew_and_what_surrounds_it_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let page = folder.path().join("a.md");
        let with = |table: &str| {
            format!(
                "# A\n\n{BEGIN}minutes --symbol BTC\n     --at 2023-03-11T02:31Z {CLOSE}\n{table}{END}\n\nand on\n"
            )
        };
        fs::write(&page, with("| old |\n")).expect("written");
        let args = PageArgs {
            page: page.clone(),
            check: true,
        };
        assert!(!run(&args).expect("it is read"), "the old table is noticed");
        let args = PageArgs { check: false, ..args };
        assert!(run(&args).expect("it is made"));
        let text = fs::read_to_string(&page).expect("the page");
        assert!(
            text.starts_with("# A\n\n<!--") && text.ends_with("<!-- end -->\n\nand on\n"),
            "{text}"
        );
        assert!(text.contains("| 11 Mar 02:31 | 20"), "{text}");
        let args = PageArgs { check: true, ..args };
        assert!(run(&args).expect("it is read"), "twice gives the same");
        for wrong in [
            with("").replace(END, ""),
            with("").replace("--symbol BTC", "--symbol NOPE"),
            with("").replace("--at", "--ever"),
        ] {
            fs::write(&page, wrong).expect("written");
            assert!(run(&args).is_err());
        }
    }
}
