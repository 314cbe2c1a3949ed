//! `params`: settings of running servers that apply within a second.

use std::io::Write;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::LedgerArgs;
use super::ledger::block_on;
use super::output::{Table, exact_time, short_time, write_json};
use crate::clock;
use crate::parameters::{Kind, Name};
use crate::store::Parameter;

/// Manage parameters: settings of running servers that apply within a second.
#[derive(Clone, Debug, Args)]
pub struct ParamsArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(subcommand)]
    command: ParamsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ParamsCommand {
    /// List every parameter: what it is now, what it may be, and what it does
    List,
    /// Show one parameter
    Show {
        /// Its name
        name: String,
    },
    /// Set a parameter
    Set {
        /// Its name
        name: String,
        /// Its new value
        value: String,
    },
    /// Unset a parameter, so that its default holds again
    Unset {
        /// Its name
        name: String,
    },
}

#[derive(Serialize)]
struct ParameterView {
    name: String,
    /// What holds: the default where nothing is set that can be followed.
    value: String,
    is_set: bool,
    default: Option<String>,
    unit: Option<&'static str>,
    takes: Option<String>,
    about: Option<&'static str>,
    updated_at: Option<String>,
    /// Why what is set is not followed.
    problem: Option<String>,
    #[serde(skip)]
    updated_at_ns: Option<u64>,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &ParamsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let json = args.ledger.json;
    block_on(async {
        match &args.command {
            ParamsCommand::List => {
                let set = args.ledger.open_existing().await?.list_parameters().await?;
                let views = all(&set);
                if json {
                    write_json(out, &views)?;
                } else {
                    write_list(out, &views)?;
                }
            }
            ParamsCommand::Show { name } => {
                let set = args.ledger.open_existing().await?.parameter(name).await?;
                if set.is_none() {
                    Name::find(name)?;
                }
                show(out, json, &view(name, set.as_ref()))?;
            }
            ParamsCommand::Set { name, value } => {
                Name::find(name)?.parse(value)?;
                let ledger = args.ledger.open_existing().await?;
                ledger.set_parameter(name, value, clock::unix_nanos()).await?;
                let set = ledger.parameter(name).await?;
                show(out, json, &view(name, set.as_ref()))?;
            }
            ParamsCommand::Unset { name } => {
                // One that this program does not know may be taken back, too.
                let was_set = args.ledger.open_existing().await?.unset_parameter(name).await?;
                if !was_set {
                    Name::find(name)?;
                    if !json {
                        bail!("{name} is not set: its default holds already");
                    }
                }
                show(out, json, &view(name, None))?;
            }
        }
        out.flush()?;
        Ok(())
    })
}

/// Every parameter there is, then those that are set and that nobody knows.
fn all(set: &[Parameter]) -> Vec<ParameterView> {
    let find = |name: &str| set.iter().find(|parameter| parameter.name == name);
    let known = Name::ALL.map(|name| name.definition().name);
    let strange = set.iter().map(|parameter| parameter.name.as_str());
    let strange = strange.filter(|name| !known.contains(name));
    let names = known.into_iter().chain(strange);
    names.map(|name| view(name, find(name))).collect()
}

fn view(name: &str, set: Option<&Parameter>) -> ParameterView {
    let known = Name::find(name);
    let definition = known.as_ref().ok().map(|name| name.definition());
    let default = definition.map(|definition| definition.kind.default_text());
    let followed = match (&known, set) {
        (Ok(name), Some(set)) => name.parse(&set.value).map(|_| ()),
        (Ok(_), None) => Ok(()),
        (Err(error), _) => Err(error.clone()),
    };
    let value = match set {
        Some(set) if followed.is_ok() || definition.is_none() => set.value.clone(),
        _ => default.clone().unwrap_or_default(),
    };
    ParameterView {
        name: name.to_owned(),
        value,
        is_set: set.is_some(),
        default,
        unit: definition
            .map(|definition| definition.unit)
            .filter(|unit| !unit.is_empty()),
        takes: definition.map(|definition| definition.kind.to_string()),
        about: definition.map(|definition| definition.about),
        updated_at: set.map(|set| exact_time(set.updated_at_ns)),
        problem: followed.err().map(|error| error.to_string()),
        updated_at_ns: set.map(|set| set.updated_at_ns),
    }
}

fn write_list(out: &mut dyn Write, views: &[ParameterView]) -> std::io::Result<()> {
    let mut table = Table::new(["NAME", "VALUE", "DEFAULT", "RANGE", "UNIT", "WHAT IT DOES"]);
    for view in views {
        let range = Name::find(&view.name).map_or_else(
            |_| String::new(),
            |name| match name.definition().kind {
                Kind::Number { min, max, .. } => format!("{min} to {max}"),
                Kind::Switch { .. } => "on, off".to_owned(),
                Kind::LogFilter => "directives".to_owned(),
            },
        );
        let about = view.problem.as_deref().map_or_else(
            || view.about.unwrap_or_default().to_owned(),
            |problem| format!("NOT FOLLOWED: {problem}"),
        );
        table.row([
            &view.name,
            &view.value,
            view.default.as_deref().unwrap_or_default(),
            &range,
            view.unit.unwrap_or_default(),
            &about,
        ]);
    }
    table.write(out)
}

fn show(out: &mut dyn Write, json: bool, view: &ParameterView) -> std::io::Result<()> {
    if json {
        return write_json(out, view);
    }
    let mut table = Table::of_fields();
    table.row(["name", &view.name]);
    table.row(["value", &view.value]);
    if let Some(at) = view.updated_at_ns {
        table.row(["set at", &short_time(at)]);
    }
    for (name, value) in [
        ("default", view.default.as_deref()),
        ("takes", view.takes.as_deref()),
        ("unit", view.unit),
        ("what it does", view.about),
        ("not followed", view.problem.as_deref()),
    ] {
        if let Some(value) = value {
            table.row([name, value]);
        }
    }
    table.write(out)
}
