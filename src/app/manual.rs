//! Completions and manual pages, out of the command line's own description. Reads no configuration.

use std::{fs, io::Write};

use crate::{
    app::{Error, Exit, output::Results},
    cli::{
        Cli,
        commands::{CompletionsArgs, ManArgs},
    },
};

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, Error> {
    // The generator panics where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::description(), "logtally", &mut script);
    print(&script)
}

pub(super) fn pages(args: &ManArgs) -> Result<Exit, Error> {
    let Some(out) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::description()).render(&mut page)?;
        return print(&page);
    };
    let failed =
        |error| Error::doing(format!("cannot write manual pages to {}", out.display()), Exit::Io, error);
    fs::create_dir_all(out).map_err(failed)?;
    clap_mangen::generate_to(Cli::description(), out).map_err(failed)?;
    Ok(Exit::Success)
}

fn print(bytes: &[u8]) -> Result<Exit, Error> {
    let mut results = Results::stdout();
    results.write_all(bytes)?;
    results.flush()?;
    Ok(Exit::Success)
}
