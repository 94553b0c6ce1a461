//! arguments → config → telemetry → app → exit code. Decides nothing itself.

use std::{
    hint::black_box,
    io::{self, Write},
    process::ExitCode,
};

use logtally::{
    app::{self, Error, Exit},
    cli::Cli,
    config::{self, Config, environment::Environment},
    telemetry,
};

/// Threads for what blocks, with one producer. One tails files for as long as it runs; the rest read, compress and count batches of some
/// megabytes, and each keeps memory of that size, so more of them than cores would only cost.
const BLOCKING: usize = 6;

/// glibc takes memory for larger requests from the system, and gives free memory above twice as much back, each time anew:
/// a third of the CPU of `produce` went into that. The largest that it lets either bound grow to by itself
/// (`DEFAULT_MMAP_THRESHOLD_MAX`), with room for its own header.
const KEPT: usize = 32 * 1024 * 1024 - 64 * 1024;

fn main() -> ExitCode {
    keep_freed_memory();
    let ended = match Cli::read() {
        Ok(cli) => start(cli),
        Err(code) => return code,
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            if let Some(line) = error.line() {
                // Nobody is left to tell if standard error is gone.
                drop(writeln!(io::stderr(), "{line}"));
            }
            error.exit().into()
        }
    }
}

/// glibc raises its bounds to the size of what was freed last: this is freed, and never touched. Other allocators pass
/// over it.
fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(KEPT)));
}

fn start(cli: Cli) -> Result<Exit, Error> {
    let environment = Environment::of_process();
    let settings = diagnostics(&cli, &environment).map_err(|error| Error::new(Exit::Config, error))?;
    telemetry::install(&settings).map_err(|error| Error::new(Exit::Config, error))?;
    let config = if cli.command.is_configured() {
        let loaded = config::load(cli.global.config.as_deref(), &environment, &cli.overrides())?;
        for warning in loaded.warnings {
            tracing::warn!("{warning}");
        }
        loaded.config
    } else {
        Config::default()
    };
    let blocking = BLOCKING + cli.command.most_producers() - 1;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(blocking).enable_all().build()?;
    let (file, overrides) = (cli.global.config.clone(), cli.overrides());
    let reload = move || config::load(file.as_deref(), &environment, &overrides).map(|loaded| loaded.config);
    let ended = runtime.block_on(app::run(cli, config, &reload));
    // A thread may still wait for standard input, which may never end.
    runtime.shutdown_background();
    ended
}

fn diagnostics(
    cli: &Cli,
    environment: &Environment,
) -> Result<telemetry::Settings, telemetry::TelemetryError> {
    let asked = environment.diagnostics();
    let format = asked.format.as_deref().map(str::parse).transpose()?;
    Ok(telemetry::Settings {
        filter: cli.filter(asked.filter),
        format: format.unwrap_or_default(),
        color: !asked.no_color,
    })
}
