//! A Kinesis that answers from memory, and the least that the SDK costs to read or fill a stream: what `benches/kinesis`
//! measures `produce` and `analyze` against. Keeps nothing that is sent, and knows no other service.
//!
//! ```sh
//! cargo run --release --example endpoint -- serve access.log --shards 8
//! cargo run --release --example endpoint -- discard http://127.0.0.1:4567
//! ```

#![expect(clippy::indexing_slicing, reason = "a program for developers: a panic is a message")]

mod bare;
mod log;
mod serve;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};

/// The stream of lines; what is sent to any other one is taken, too.
const STREAM: &str = "logtally-input";

/// A Kinesis that answers from memory, or the least that the SDK costs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the records of a log; print where, and end when standard input does
    Serve {
        #[command(flatten)]
        records: Records,
        /// Shards of the stream
        #[arg(long, default_value_t = 8)]
        shards: usize,
        /// Compress the records as `produce` does
        #[arg(long)]
        zstd: bool,
    },
    /// Read every shard once, in one thread, and discard the payloads
    Discard {
        /// Where the endpoint listens
        endpoint: String,
        /// Unpack each payload before it is discarded
        #[arg(long)]
        unpack: bool,
    },
    /// Send the records of a log, in one thread
    Send {
        /// Where the endpoint listens
        endpoint: String,
        #[command(flatten)]
        records: Records,
    },
}

#[derive(Args)]
struct Records {
    /// The log
    log: PathBuf,
    /// Bytes of lines in a record, at most
    #[arg(long, default_value_t = 512 * 1024)]
    record_bytes: usize,
}

impl Records {
    fn open(&self) -> anyhow::Result<log::Pieces> {
        log::Pieces::open(&self.log, self.record_bytes)
    }
}

fn main() -> anyhow::Result<()> {
    // As logtally does: glibc would else give the memory of each call back, and take it anew.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(32 * 1024 * 1024 - 64 * 1024)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said = match Arguments::parse().command {
        Command::Serve { records, shards, zstd } => {
            let shards = log::shards(&mut records.open()?, shards, zstd)?;
            return runtime.block_on(serve::until_closed(shards));
        }
        Command::Discard { endpoint, unpack } => runtime.block_on(bare::discard(&endpoint, unpack))?,
        Command::Send { endpoint, records } => {
            runtime.block_on(bare::send(&endpoint, &mut records.open()?))?
        }
    };
    writeln!(io::stdout(), "{} calls, {} records, {} bytes", said.calls, said.records, said.bytes)?;
    Ok(())
}
