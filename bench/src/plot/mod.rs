//! `trinity-bench plot`: stored results as pictures and Markdown tables, as often as wanted.

pub(crate) mod axis;
mod bars;
pub(crate) mod lines;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;

use crate::curve::Figures;

/// Options of `plot`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Ratios of `compare --json` as bars with their range.
    Compare {
        /// What `trinity-bench compare --json` printed.
        file: PathBuf,
        /// Draw the bars.
        #[arg(long, value_name = "FILE", required_unless_present = "markdown")]
        svg: Option<PathBuf>,
        /// Print the ratios as a Markdown table.
        #[arg(long)]
        markdown: bool,
    },
    /// What `curve --json` measured.
    Curve {
        /// What `trinity-bench curve --json` printed.
        file: PathBuf,
        /// Draw latency against throughput.
        #[arg(long, value_name = "FILE", required_unless_present_any = ["markdown", "percentiles_svg"])]
        svg: Option<PathBuf>,
        /// Draw latency against percentiles.
        #[arg(long, value_name = "FILE")]
        percentiles_svg: Option<PathBuf>,
        /// Print the rates as a Markdown table.
        #[arg(long)]
        markdown: bool,
    },
    /// The figures of any result as Markdown tables, without those of single rounds.
    Table {
        /// What a command of this program printed with --json.
        file: PathBuf,
        /// Only this member of the result, such as `machine`.
        #[arg(long, value_name = "NAME")]
        member: Option<String>,
    },
}

/// Draws and prints what was asked for.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Compare { file, svg, markdown } => {
            let compared: bars::Compared = read(file, "compare")?;
            ensure!(
                !compared.is_empty(),
                "{} has no ratios: measure again with scenarios that have some",
                file.display()
            );
            if let Some(svg) = svg {
                write(svg, &compared.svg()?)?;
            }
            if *markdown {
                print!("{}", compared.markdown());
            }
        }
        What::Curve {
            file,
            svg,
            percentiles_svg,
            markdown,
        } => {
            let figures: Figures = read(file, "curve")?;
            ensure!(
                !figures.runs.is_empty(),
                "{} has no runs: measure again",
                file.display()
            );
            if let Some(svg) = svg {
                write(svg, &figures.throughput_svg()?)?;
            }
            if let Some(svg) = percentiles_svg {
                write(svg, &figures.percentiles_svg()?)?;
            }
            if *markdown {
                print!("{}", figures.markdown());
            }
        }
        What::Table { file, member } => {
            let result: serde_json::Value = read(file, "COMMAND")?;
            print!("{}", table::markdown(&result, member.as_deref())?);
        }
    }
    Ok(())
}

/// A result that a command of this program printed.
fn read<T: DeserializeOwned>(file: &Path, command: &str) -> anyhow::Result<T> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is no result of this command: make one with `trinity-bench {command} --json`",
            file.display()
        )
    })
}

/// Writes a picture.
pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plotted(words: &[&str], json: &str) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), json)?;
        let path = file.path().to_str().expect("a plain name");
        let words = words.iter().map(|word| if *word == "FILE" { path } else { word });
        run(&Line::try_parse_from(std::iter::once("plot").chain(words))?.args)
    }

    /// That every tag of the text is closed in its order, and no `&` or `<` stands for itself.
    pub(crate) fn is_well_formed(xml: &str) -> bool {
        let mut open = Vec::new();
        let mut rest = xml.trim();
        while let Some(at) = rest.find('<') {
            let (text, tag) = rest.split_at(at);
            let Some(end) = tag.find('>') else { return false };
            let entities = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;", "&#"];
            let plain = |part: &str| {
                part.match_indices('&')
                    .all(|(at, _)| entities.iter().any(|entity| part[at..].starts_with(entity)))
            };
            let inner = &tag[1..end];
            if inner.contains('<') || inner.matches('"').count() % 2 == 1 || !plain(text) || !plain(inner) {
                return false;
            }
            let name = |tag: &str| tag.split_ascii_whitespace().next().map(str::to_owned);
            match inner.strip_prefix('/') {
                Some(closed) if open.pop() != name(closed) => return false,
                Some(_) => {}
                None if inner.ends_with('/') => {}
                None => open.extend(name(inner)),
            }
            rest = &tag[end + 1..];
        }
        open.is_empty() && rest.is_empty() && xml.starts_with("<svg")
    }

    #[test]
    fn a_file_that_is_no_such_result_is_refused_and_the_error_says_how_to_make_one() {
        let no_curve = r#"{"ratios":{"http_vs_nginx":1.2},"spread":{},"medians":{}}"#;
        for (words, json) in [
            (["compare", "FILE", "--markdown"], "not JSON"),
            (["compare", "FILE", "--markdown"], r#"{"ns_per_request":3}"#),
            (["compare", "FILE", "--markdown"], no_curve),
            (["curve", "FILE", "--markdown"], no_curve),
        ] {
            let error = format!("{:#}", plotted(&words, json).expect_err(json));
            assert!(
                error.contains(&format!("trinity-bench {} --json", words[0])),
                "{error}"
            );
        }
    }

    #[test]
    fn a_result_without_ratios_or_runs_is_refused() {
        let empty = r#"{"ratios":{},"spread":{},"default_driver":"epoll"}"#;
        let error = plotted(&["compare", "FILE", "--markdown"], empty).expect_err("empty");
        assert!(error.to_string().contains("no ratios"), "{error}");
        let empty = r#"{"title":"t","peak_requests_per_second":1.0,"runs":[]}"#;
        let error = plotted(&["curve", "FILE", "--markdown"], empty).expect_err("empty");
        assert!(error.to_string().contains("no runs"), "{error}");
    }

    #[test]
    fn only_balanced_tags_and_escaped_signs_are_well_formed() {
        assert!(is_well_formed("<svg a=\"1\"><b>1 &lt; 2</b><c/></svg>\n"));
        for wrong in [
            "<svg>",
            "<svg><b></svg></b>",
            "<svg>a & b</svg>",
            "<svg a=\"1></svg>",
            "<svg/>x",
        ] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }
}
